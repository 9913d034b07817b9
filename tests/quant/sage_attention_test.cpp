#include "reference/sage_attention.hpp"

#include "support/allocations.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/sage_attention.hpp>

// quant/sage_attention

using namespace weft;
using quant::SageAttention;

namespace {

struct Shape {
  Index B = 1, Hq = 1, Hk = 1, N = 1, M = 1, D = 1, E = 1;
};

struct Inputs {
  explicit Inputs(const Shape& s)
      : shape(s),
        q(even_values<float, 4>({s.B, s.Hq, s.N, s.D}, 21, -2, 2)),
        k(even_values<float, 4>({s.B, s.Hk, s.M, s.D}, 22, -2, 2)),
        v(even_values<float, 4>({s.B, s.Hk, s.M, s.E}, 23, -2, 2)) {}

  Shape shape;
  Tensor<float, 4> q, k, v;
};

/// A window that is open on both sides, or on the left.
constexpr Window mask_of(bool causal) { return {-1, causal ? 0 : -1}; }

struct Result {
  std::vector<double> out, lse;
};

Result run(const SageAttention<Window>& mixer, const Inputs& in, const Context& ctx = Context()) {
  const Shape& s = in.shape;
  const Poisoned<float, 4> out({s.B, s.Hq, s.N, s.E});
  Tensor<float, 3> lse({s.B, s.Hq, s.N});
  forward_with_lse(mixer, in.q, in.k, in.v, out.view(), lse, ctx);
  CHECK(out.guards_intact());
  return {doubles_of(out.view()), doubles_of(lse.view())};
}

Result expected(const SageAttention<Window>& mixer, const Inputs& in) {
  const Shape& s = in.shape;
  const reference::SageOptions options{static_cast<std::size_t>(mixer.query_block),
                                       static_cast<std::size_t>(mixer.key_block),
                                       mixer.mask.right == 0, mixer.int8_values};
  Result all;
  for (Index b = 0; b < s.B; ++b)
    for (Index h = 0; h < s.Hq; ++h) {
      const auto head = [b](const Tensor<float, 4>& x, Index i) {
        return double_rows(x.view().select(0, b).select(0, i));
      };
      const Index kv = h / (s.Hq / s.Hk);
      const auto one =
          reference::sage_attention(head(in.q, h), head(in.k, kv), head(in.v, kv), options);
      for (const auto& row : one.out) all.out.insert(all.out.end(), row.begin(), row.end());
      all.lse.insert(all.lse.end(), one.lse.begin(), one.lse.end());
    }
  return all;
}

/// Plain attention.
Result plain(const Inputs& in, bool causal) {
  const Shape& s = in.shape;
  Tensor<float, 4> out({s.B, s.Hq, s.N, s.E});
  Tensor<float, 3> lse({s.B, s.Hq, s.N});
  forward_with_lse(Softmax{mask_of(causal)}, in.q, in.k, in.v, out, lse);
  return {doubles_of(out.view()), doubles_of(lse.view())};
}

}  // namespace

TEST_CASE("sage_attention: agrees with the reference for any sizes and blocks", "[quant]") {
  const Shape shapes[] = {{1, 2, 2, 150, 150, 64, 64},
                          {2, 4, 2, 33, 70, 20, 36},
                          {1, 3, 1, 60, 131, 1, 17},
                          {1, 1, 1, 1, 1, 5, 3}};
  for (const Shape& shape : shapes)
    for (const auto& [bq, bk] : {std::pair<Index, Index>{128, 64}, {7, 13}, {200, 256}, {1, 1}})
      for (const bool causal : {false, true})
        for (const bool int8_values : {false, true}) {
          INFO(shape.M << " keys of " << shape.D << ", blocks " << bq << " x " << bk);
          const Inputs in(shape);
          const SageAttention mixer{mask_of(causal), bq, bk, int8_values};
          const Result got = run(mixer, in), want = expected(mixer, in);
          // A weight so close to the middle of two codes that fp32 takes the other one moves a row
          // by 1 / 127 of one value in the sum of all.
          CHECK(largest_error(got.out, want.out) < (int8_values ? 5e-3 : 5e-6));
          CHECK(largest_error(got.lse, want.lse) < 5e-6);
        }
}

TEST_CASE("sage_attention: rows that see no key", "[quant]") {
  const Inputs in({1, 1, 1, 9, 4, 16, 16});
  for (const bool int8_values : {false, true}) {
    const auto got = run({mask_of(true), 4, 2, int8_values}, in);
    for (std::size_t i = 0; i < 5 * 16; ++i) CHECK(got.out[i] == 0);
    for (std::size_t i = 0; i < 5; ++i)
      CHECK(got.lse[i] == -std::numeric_limits<double>::infinity());
    CHECK(std::isfinite(got.lse[5]));
  }
}

TEST_CASE("sage_attention: what all keys share costs no precision", "[quant]") {
  Inputs in({1, 2, 1, 100, 100, 64, 64});
  const Result before = run({mask_of(true), 128, 64, false}, in);
  CHECK(largest_error(before.out, plain(in, true).out) < 0.03);
  for (Index j = 0; j < 100; ++j)
    for (Index d = 0; d < 64; ++d) in.k(0, 0, j, d) += static_cast<float>(d % 7) * 20;
  const Result after = run({mask_of(true), 128, 64, false}, in);
  CHECK(largest_error(after.out, before.out) < 5e-3);
  CHECK(largest_error(after.lse, plain(in, true).lse) < 1e-3);
}

TEST_CASE("sage_attention: equal keys and zeros", "[quant]") {
  Inputs in({1, 1, 1, 3, 10, 8, 4});
  for (Index j = 0; j < 10; ++j)
    for (Index d = 0; d < 8; ++d) in.k(0, 0, j, d) = 2;
  for (Index j = 0; j < 10; ++j) in.v(0, 0, j, 1) = 0;
  for (const bool int8_values : {false, true}) {
    const auto got = run({mask_of(false), 2, 3, int8_values}, in);
    CHECK(largest_error(got.out, plain(in, false).out) < (int8_values ? 0.01 : 2e-6));
    for (std::size_t i = 0; i < 3; ++i) CHECK(got.out[4 * i + 1] == 0);
  }
}

TEST_CASE("sage_attention: threads, allocations, storage of 16 bits", "[quant]") {
  const Inputs in({2, 4, 2, 140, 200, 40, 24});
  const SageAttention mixer{mask_of(true), 32, 64, true};
  CHECK(same_for_any_threads([&](const Context& ctx) { return run(mixer, in, ctx).out; }));
  Tensor<float, 4> out({2, 4, 140, 24});
  CHECK(allocates_once([&](const Context& ctx) { forward(mixer, in.q, in.k, in.v, out, ctx); }));

  Inputs rounded({2, 4, 2, 140, 200, 40, 24});
  const auto narrow = [](Tensor<float, 4>& x) {
    Tensor<bf16, 4> y(x.shape());
    for (Index i = 0; i < x.size(); ++i) {
      y.data()[i] = bf16(x.data()[i]);
      x.data()[i] = y.data()[i];
    }
    return y;
  };
  const auto q = narrow(rounded.q), k = narrow(rounded.k), v = narrow(rounded.v);
  forward(mixer, q, k, v, out);
  CHECK((doubles_of(out.view()) == run(mixer, rounded).out));
}

TEST_CASE("sage_attention: nothing to do, and refused calls", "[quant]") {
  const Tensor<float, 4> none({1, 2, 0, 8}), some({1, 2, 3, 8});
  Tensor<float, 4> out({1, 2, 3, 8}), empty({1, 2, 0, 8});
  const SageAttention mixer{mask_of(false)};
  forward(mixer, none, some, some, empty);
  out(0, 0, 0, 0) = 1;
  forward(mixer, some, none, none, out);
  for (const float x : out.span()) CHECK(x == 0);
  const auto refusal = [&](const SageAttention<Window>& m, const Tensor<float, 4>& k) {
    return message_of([&] { forward(m, some, k, k, out); });
  };
  CHECK(contains(refusal({mask_of(false), 0, 64, false}, some), "blocks of 0 queries"));
  CHECK(contains(refusal({mask_of(false), 1, 257, false}, some), "257 keys"));
  CHECK(contains(refusal(mixer, Tensor<float, 4>({1, 2, 3, 9})), "head size"));
  CHECK(contains(refusal(mixer, Tensor<float, 4>({2, 2, 3, 8})), "batch size"));
}
