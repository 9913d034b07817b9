#include "attention/softmax/streaming.hpp"
#include "cases/normalizers.hpp"
#include "support/allocations.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include <weft/attention/softmax/ragged.hpp>

// What holds for every normalizer, whatever its weights: verbs, threads, hidden keys.

using namespace weft;
using cases::AttentionInputs;
using cases::AttentionShape;

namespace {

constexpr AttentionShape kFew{.B = 2, .Hk = 1, .N = 3, .M = 1300, .D = 24, .E = 20};
constexpr AttentionShape kMany{.B = 2, .Hk = 2, .N = 70, .M = 300, .D = 24, .E = 20};

template <class T, class Mixer>
std::vector<double> run(const Mixer& mixer, const AttentionInputs<T>& in,
                        const Context& context = Context()) {
  const Poisoned<T, 4> out({in.shape.B, in.shape.Hq, in.shape.N, in.shape.E});
  forward(mixer, in.q, in.k, in.v, out.view(), context);
  CHECK(out.guards_intact());
  return doubles_of(out.view());
}

/// Calls f(row, inputs) for every row, on few query rows and on many.
template <class F>
void for_each_input(F f) {
  cases::for_each_normalizer_case([&](const auto& row) {
    for (AttentionShape shape : {kFew, kMany}) {
      shape.Hq = shape.Hk * row.group;
      AttentionInputs<float> in(shape);
      INFO(row.name << " " << cases::text(shape));
      f(row, in);
    }
  });
}

}  // namespace

TEST_CASE("normalizers: forward, prefill in any split and step agree", "[softmax]") {
  cases::for_each_normalizer_case([](const auto& row) {
    cases::check_stream<float>(row, {.B = 2, .Hk = 2, .N = 61, .M = 61, .D = 24, .E = 20});
    cases::check_stream<double>(row, {.B = 1, .Hk = 1, .N = 300, .M = 300, .D = 16, .E = 16});
  });
}

TEST_CASE("normalizers: the same bits with 1, 2 and 3 threads, and no allocation", "[softmax]") {
  for_each_input([](const auto& row, AttentionInputs<float>& in) {
    const auto mixer = row.mixer(in);
    const Context alone;
    const auto expected = run(mixer, in, alone);
    for (const int threads : {2, 3}) {
      auto executor = fresh_threads(threads);
      CHECK((run(mixer, in, Context(executor)) == expected));
    }
    Tensor<float, 4> out({in.shape.B, in.shape.Hq, in.shape.N, in.shape.E});
    forward(mixer, in.q, in.k, in.v, out, alone);
    const long before = allocations();
    forward(mixer, in.q, in.k, in.v, out, alone);
    CHECK(allocations() == before);
  });
}

TEST_CASE("normalizers: rows that see no key give zeros; hidden rubbish has no influence",
          "[softmax]") {
  for_each_input([](const auto& row, AttentionInputs<float>& in) {
    const auto drawn = row.mixer(in);
    Tensor<std::uint8_t, 4> bytes({1, 1, in.shape.N, in.shape.M});
    for (Index i = 0; i < in.shape.N; ++i)
      for (Index j = 0; j < in.shape.M; ++j) bytes(0, 0, i, j) = i % 3 != 0 && j % 7 != 2;
    const Softmax mixer{BoolMask{std::as_const(bytes).view()}, drawn.score, drawn.normalizer};
    const auto clean = run(mixer, in);
    for (Index h = 0; h < in.shape.Hq; ++h)
      for (Index i = 0; i < in.shape.N; i += 3)
        CHECK(clean[static_cast<std::size_t>((h * in.shape.N + i) * in.shape.E)] == 0.0);
    for (const float rubbish : {std::numeric_limits<float>::quiet_NaN(), HUGE_VALF, 3e38f}) {
      for (Index j = 2; j < in.shape.M; j += 7) {
        in.k(1, 0, j, 3) = rubbish;
        in.v(1, 0, j, 4) = rubbish;
      }
      // Not bit by bit: values that are not finite are added key by key.
      CHECK(cases::error_of(run(mixer, in), clean) < 1e-6);
    }
  });
}

TEST_CASE("normalizers: NaN in a visible key reaches the rows that see it", "[softmax]") {
  for_each_input([](const auto& row, AttentionInputs<float>& in) {
    const auto drawn = row.mixer(in);
    in.k(0, 0, in.shape.M - 1, 0) = std::numeric_limits<float>::quiet_NaN();
    const auto got = run(Softmax{cases::kCausal, drawn.score, drawn.normalizer}, in);
    for (Index i = 0; i < in.shape.N; ++i)
      CHECK(std::isnan(got[static_cast<std::size_t>(i * in.shape.E)]) == (i == in.shape.N - 1));
  });
}

TEST_CASE("normalizers: ragged batches equal sequence after sequence", "[softmax]") {
  const std::vector<std::int32_t> cu{0, 5, 5, 75, 76};
  const auto q = even_values<float, 3>({76, 2, 24}, 1, -2, 2);
  const auto k = even_values<float, 3>({76, 1, 24}, 2, -2, 2);
  const auto v = even_values<float, 3>({76, 1, 20}, 3);
  const auto check = [&](const auto& normalizer) {
    const Softmax mixer{cases::kCausal, NoScore{}, normalizer};
    Tensor<float, 3> out({76, 2, 20}), expected({76, 2, 20});
    forward_ragged(mixer, q, k, v, cu, cu, out);
    for (std::size_t b = 0; b + 1 < cu.size(); ++b) {
      const auto part = [&](auto& x) {
        return unsqueeze(x.view().slice(0, cu[b], cu[b + 1] - cu[b])).transpose(1, 2);
      };
      forward(mixer, part(q), part(k), part(v), part(expected));
    }
    CHECK((doubles_of(out.view()) == doubles_of(expected.view())));
  };
  check(ReluWeights<>{});
  check(ClippedSoftmax{});
  check(TopK{3});
}

TEST_CASE("normalizers: a source of keys and values gives what the tensors give", "[softmax]") {
  for_each_input([](const auto& row, AttentionInputs<float>& in) {
    const auto mixer = row.mixer(in);
    const ContiguousKv<float, float> source{in.k.view(), in.v.view()};
    Tensor<float, 4> out({in.shape.B, in.shape.Hq, in.shape.N, in.shape.E});
    forward(mixer, in.q, source, out);
    CHECK((doubles_of(out.view()) == run(mixer, in)));
  });
}

TEST_CASE("normalizers: products in bf16", "[softmax]") {
  for_each_input([](const auto& row, AttentionInputs<float>& in) {
    if (row.name == "softmax/top_k") return;  // which keys are the largest may change
    const auto exact = row.mixer(in);
    const Softmax<decltype(exact.mask), decltype(exact.score), decltype(exact.normalizer),
                  Bf16Products>
        rounded{exact.mask, exact.score, exact.normalizer, exact.scale};
    CHECK(cases::error_of(run(rounded, in), run(exact, in)) < 0.05);
  });
}

TEST_CASE("normalizers: weights that depend on the number of keys do not stream", "[softmax]") {
  const auto refusal = [](const auto& normalizer) {
    return message_of([&] {
      make_state(Softmax{cases::kCausal, NoScore{}, normalizer}, {1, 1, 1, 1, 1});
    });
  };
  const char* text = "a normalizer that does not depend on the number of keys";
  CHECK(contains(refusal(ReluWeights<>{Count::keys}), text));
  CHECK(contains(refusal(SigmoidWeights{0, Count::one, true}), text));
  CHECK(contains(refusal(NormalizedGelu{}), text));
  CHECK(contains(refusal(GeluNormalized{}), text));
  CHECK(contains(refusal(ScaledSoftmax{}), text));
  CHECK(refusal(NormalizedGelu{3}).empty());
  CHECK(refusal(ReluWeights<>{}).empty());
}
