#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"
#include "support/threads.hpp"
#include <weft/attention/softmax/bf16_tiles.hpp>

using namespace weft;
using cases::AttentionInputs;
using cases::AttentionShape;

namespace {

/// bf16 products of q, k and of weights, v: every factor carries a relative error of 2^-9, so
/// logits of magnitude L about 2^-8 L (with the luck of random signs), weights and values the rest.
constexpr double tolerance(double logits) { return 0x1p-8 * (2 + 2 * logits); }

template <class T, class M>
double error_in_bounds(const M& mask, reference::CausalMode causal, const AttentionShape& shape) {
  const AttentionInputs<T> in(shape);
  const Softmax<M, NoScore, PlainSoftmax, Bf16Products> mixer{mask};
  const Poisoned<T, 4> out({shape.B, shape.Hq, shape.N, shape.E});
  const Poisoned<float, 3> lse({shape.B, shape.Hq, shape.N});
  forward_with_lse(mixer, in.q, in.k, in.v, out.view(), lse.view());
  CHECK(out.guards_intact());
  CHECK(lse.guards_intact());
  cases::Question question(in);
  question.options.causal = causal;
  const auto expected = question.answer(shape);
  const double allowed = tolerance(cases::largest_finite(expected.lse));
  CHECK(cases::error_of(doubles_of(lse.view()), expected.lse, 1.0) < allowed);
  return cases::error_of(doubles_of(out.view()), expected.out) / allowed;
}

constexpr AttentionShape kShapes[] = {
    {.B = 1, .Hq = 1, .Hk = 1, .N = 1, .M = 1, .D = 1, .E = 1},
    {.B = 2, .Hq = 4, .Hk = 2, .N = 1, .M = 300, .D = 40, .E = 24},
    {.B = 1, .Hq = 3, .Hk = 1, .N = 65, .M = 63, .D = 72, .E = 80},
    {.B = 1, .Hq = 2, .Hk = 2, .N = 131, .M = 515, .D = 64, .E = 64},
    {.B = 2, .Hq = 2, .Hk = 2, .N = 70, .M = 0, .D = 8, .E = 8},
};

}  // namespace

TEST_CASE("bf16 products agree with the reference as far as bf16 goes", "[softmax]") {
  for (const AttentionShape& shape : kShapes) {
    INFO(cases::text(shape));
    CHECK(error_in_bounds<float>(NoMask{}, reference::CausalMode::none, shape) < 1);
    CHECK(error_in_bounds<bf16>(NoMask{}, reference::CausalMode::none, shape) < 1);
    CHECK(error_in_bounds<float>(cases::kCausal, reference::CausalMode::bottom_right, shape) < 1);
    CHECK(error_in_bounds<bf16>(cases::kCausal, reference::CausalMode::bottom_right, shape) < 1);
  }
}

TEST_CASE("bf16 products: hidden NaN, and the same bits on any number of threads", "[softmax]") {
  const AttentionShape shape{.B = 1, .Hq = 2, .Hk = 1, .N = 90, .M = 300, .D = 40, .E = 24};
  const Softmax<Causal, NoScore, PlainSoftmax, Bf16Products> mixer{Causal{Align::top_left}};
  AttentionInputs<float> in(shape);
  const auto run = [&](const Context& context) {
    const Poisoned<float, 4> out({1, 2, 90, 24});
    forward(mixer, in.q, in.k, in.v, out.view(), context);
    return doubles_of(out.view());
  };
  const auto clean = run(Context());
  for (Index j = 90; j < 300; j += 3) {
    in.k(0, 0, j, 7) = std::numeric_limits<float>::quiet_NaN();
    in.v(0, 0, j, 3) = std::numeric_limits<float>::infinity();
  }
  auto three = fresh_threads(3);
  const auto got = run(Context());
  // Tiles with NaN or Inf in hidden values are multiplied in fp32, which rounds less.
  CHECK(cases::error_of(got, clean) < 0x1p-7);
  CHECK((run(Context(three)) == got));
}
