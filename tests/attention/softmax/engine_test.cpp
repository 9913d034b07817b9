#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"
#include "support/threads.hpp"

#include <vector>

// What the engine promises whatever the policies: layouts, hidden NaN, visible NaN, large logits,
// rows without keys, threads.

using namespace weft;
using cases::AttentionInputs;
using cases::AttentionShape;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
const Causal kCausal{Align::bottom_right};

/// Both ways through the engine: few rows (direct) and many (tiled), more keys than one tile has;
/// few rows of whole registers and of less.
constexpr AttentionShape kFew{.B = 2, .Hq = 2, .Hk = 1, .N = 3, .M = 300, .D = 24, .E = 20};
constexpr AttentionShape kWide{.B = 2, .Hq = 4, .Hk = 2, .N = 3, .M = 300, .D = 72, .E = 100};
constexpr AttentionShape kMany{.B = 2, .Hq = 2, .Hk = 2, .N = 70, .M = 300, .D = 24, .E = 20};

/// Output and LSE of one call; both start as NaN.
struct Result {
  std::vector<double> out, lse;
  AttentionShape shape;

  bool operator==(const Result& other) const { return out == other.out && lse == other.lse; }

  bool row_is(Index b, Index h, Index i, bool (*property)(double)) const {
    const Index row = (b * shape.Hq + h) * shape.N + i;
    for (Index e = 0; e < shape.E; ++e) {
      if (!property(out[static_cast<std::size_t>(row * shape.E + e)])) return false;
    }
    return property(lse[static_cast<std::size_t>(row)]);
  }
  bool row_equals(const Result& other, Index b, Index h, Index i) const {
    const auto row = static_cast<std::size_t>((b * shape.Hq + h) * shape.N + i);
    const auto e = static_cast<std::size_t>(shape.E);
    return std::equal(out.begin() + std::ptrdiff_t(row * e),
                      out.begin() + std::ptrdiff_t((row + 1) * e),
                      other.out.begin() + std::ptrdiff_t(row * e)) &&
           lse[row] == other.lse[row];
  }
};

template <class Mixer, class T>
Result run(const Mixer& mixer, const AttentionInputs<T>& in, const Context& context = Context()) {
  const AttentionShape& s = in.shape;
  const Poisoned<T, 4> out({s.B, s.Hq, s.N, s.E});
  const Poisoned<Accumulator<T>, 3> lse({s.B, s.Hq, s.N});
  forward_with_lse(mixer, in.q, in.k, in.v, out.view(), lse.view(), context);
  CHECK(out.guards_intact());
  CHECK(lse.guards_intact());
  return {doubles_of(out.view()), doubles_of(lse.view()), s};
}

/// Fills key and value j of every head with x.
void poison_key(AttentionInputs<float>& in, Index j, float x) {
  for (Index b = 0; b < in.shape.B; ++b) {
    for (Index h = 0; h < in.shape.Hk; ++h) {
      for (Index d = 0; d < in.shape.D; ++d) in.k(b, h, j, d) = x;
      for (Index e = 0; e < in.shape.E; ++e) in.v(b, h, j, e) = x;
    }
  }
}

bool is_nan(double x) { return std::isnan(x); }
bool is_finite(double x) { return std::isfinite(x); }

/// Runs a mixer on clean inputs and with rubbish in keys that it hides from everyone.
template <class Mixer>
void check_hidden(const Mixer& mixer, const AttentionShape& shape,
                  const std::vector<Index>& hidden) {
  AttentionInputs<float> in(shape);
  const Result clean = run(mixer, in);
  for (const float rubbish : {kNan, kInfinity, -kInfinity, 3e38f}) {
    for (const Index j : hidden) poison_key(in, j, rubbish);
    INFO(cases::text(shape) << ", rubbish " << rubbish);
    CHECK((run(mixer, in) == clean));
  }
}

}  // namespace

TEST_CASE("softmax: what stands in hidden keys and values has no influence", "[softmax]") {
  for (const AttentionShape& shape : {kFew, kWide, kMany}) {
    // Top-left causal: keys beyond the last query. A window: keys far before the first query.
    const Index n = shape.N, m = shape.M;
    check_hidden(Softmax{Causal{Align::top_left}}, shape, {n, n + 1, 255, 256, m - 1});
    check_hidden(Softmax{Window{9, 0}}, shape, {0, 1, m - n - 10});
    check_hidden(Softmax{And{kCausal, Or{Window{9, 0}, FirstKeys{2}}}}, shape, {2, 3, m - n - 10});

    Tensor<std::uint8_t, 4> bytes({1, 1, 1, m});
    Tensor<float, 4> bias({1, 1, 1, m});
    std::fill_n(bytes.data(), m, std::uint8_t{1});
    const std::vector<Index> hidden{0, 7, 100, 255, 256, m - 1};
    for (const Index j : hidden) bytes(0, 0, 0, j) = 0;
    for (const Index j : hidden) bias(0, 0, 0, j) = -kInfinity;
    check_hidden(Softmax{BoolMask{std::as_const(bytes).view()}}, shape, hidden);
    check_hidden(Softmax{NoMask{}, AdditiveBias{std::as_const(bias).view()}}, shape, hidden);
    check_hidden(Softmax{BoolMask{std::as_const(bytes).view()}, SoftCap{3}}, shape, hidden);
  }
}

TEST_CASE("softmax: NaN in a visible key reaches the rows that see it and no others", "[softmax]") {
  for (const AttentionShape& shape : {kFew, kWide, kMany}) {
    for (const Index distance : {Index{0}, Index{1}, shape.N - 1, shape.N + 40}) {
      const Index j = shape.M - 1 - distance;  // seen by the last `distance + 1` queries
      AttentionInputs<float> in(shape);
      const Result clean = run(Softmax{kCausal}, in);
      poison_key(in, j, kNan);
      const Result got = run(Softmax{kCausal}, in);
      INFO(cases::text(shape) << ", key " << j);
      for (Index b = 0; b < shape.B; ++b) {
        for (Index h = 0; h < shape.Hq; ++h) {
          for (Index i = 0; i < shape.N; ++i) {
            const bool sees = j <= i + shape.M - shape.N;
            CHECK((sees ? got.row_is(b, h, i, is_nan) : got.row_equals(clean, b, h, i)));
          }
        }
      }
    }
  }
}

TEST_CASE("softmax: NaN in one channel of a value stays in that channel", "[softmax]") {
  for (const AttentionShape& shape : {kFew, kWide, kMany}) {
    AttentionInputs<float> in(shape);
    const Result clean = run(Softmax{}, in);
    in.v(1, 0, 260, 5) = kNan;
    const Result got = run(Softmax{}, in);
    CHECK((got.lse == clean.lse));
    const Index group = shape.Hq / shape.Hk;
    for (std::size_t x = 0; x < got.out.size(); ++x) {
      const auto at = static_cast<Index>(x);
      const Index e = at % shape.E, h = at / shape.E / shape.N % shape.Hq;
      const bool hit = at / shape.E / shape.N / shape.Hq == 1 && h / group == 0 && e == 5;
      if (hit ? !std::isnan(got.out[x]) : got.out[x] != clean.out[x]) FAIL("element " << x);
    }
  }
}

TEST_CASE("softmax: NaN in a query stays in its row", "[softmax]") {
  for (const AttentionShape& shape : {kFew, kWide, kMany}) {
    AttentionInputs<float> in(shape);
    const Result clean = run(Softmax{}, in);
    in.q(1, 1, 2, 0) = kNan;
    const Result got = run(Softmax{}, in);
    for (Index b = 0; b < shape.B; ++b) {
      for (Index h = 0; h < shape.Hq; ++h) {
        for (Index i = 0; i < shape.N; ++i) {
          const bool hit = b == 1 && h == 1 && i == 2;
          CHECK((hit ? got.row_is(b, h, i, is_nan) : got.row_equals(clean, b, h, i)));
        }
      }
    }
  }
}

TEST_CASE("softmax: rows that see no key give zeros and -inf, wherever they stand", "[softmax]") {
  for (const AttentionShape& shape : {kFew, kWide, kMany}) {
    AttentionInputs<float> in(shape);
    Tensor<std::uint8_t, 4> bytes({1, 1, shape.N, shape.M});
    for (Index i = 0; i < shape.N; ++i) {
      // Every third row is dead; others see one key, alone in the first, second or third block.
      if (i % 3 != 0) bytes(0, 0, i, (i * 131) % shape.M) = 1;
    }
    const Result got = run(Softmax{BoolMask{std::as_const(bytes).view()}}, in);
    for (Index h = 0; h < shape.Hq; ++h) {
      for (Index i = 0; i < shape.N; ++i) {
        const auto row = static_cast<std::size_t>(h * shape.N + i);
        const auto first = row * static_cast<std::size_t>(shape.E);
        if (i % 3 == 0) {
          CHECK(got.lse[row] == -HUGE_VAL);
          CHECK(got.out[first] == 0.0);
          CHECK(got.out[first + 19] == 0.0);
        } else {
          // One visible key: its value, whatever the logit.
          const double v = double{in.v(0, h / (shape.Hq / shape.Hk), (i * 131) % shape.M, 0)};
          CHECK(got.out[first] == Approx(v).epsilon(1e-6));
        }
      }
    }
  }
}

TEST_CASE("softmax: large logits", "[softmax]") {
  for (AttentionShape shape : {kFew, kWide, kMany}) {
    for (const float factor : {1e2f, 1e4f, 1e9f, 1e18f}) {
      AttentionInputs<float> in(shape);
      for (float& x : in.q.span()) x *= factor;
      const Result got = run(Softmax{}, in);
      const auto expected = cases::Question(in).answer(shape);
      const double logits = cases::largest_finite(expected.lse);
      INFO(cases::text(shape) << ", factor " << factor << ", logits up to " << logits);
      // Beyond 1 / eps the best two keys may be mixed up, but nothing overflows.
      for (Index i = 0; i < shape.N; ++i) CHECK(got.row_is(0, 0, i, is_finite));
      CHECK(cases::error_of(got.lse, expected.lse) < 1e-6);
      if (logits < 1e3) CHECK(cases::error_of(got.out, expected.out) < 1e-6 * logits);
    }
  }
}

TEST_CASE("softmax: any strides give the same bits as packed tensors", "[softmax]") {
  for (const AttentionShape& shape : {kFew, kWide, kMany}) {
    const AttentionInputs<float> in(shape);
    // [B, N, H, D + gap] seen as [B, H, N, D]; the gaps hold NaN.
    const auto spread = [](const Tensor<float, 4>& x, Index gap) {
      Tensor<float, 4> wide({x.extent(0), x.extent(2), x.extent(1), x.extent(3) + gap});
      std::fill_n(wide.data(), wide.size(), kNan);
      for (Index b = 0; b < x.extent(0); ++b) {
        for (Index h = 0; h < x.extent(1); ++h) {
          for (Index i = 0; i < x.extent(2); ++i) {
            for (Index d = 0; d < x.extent(3); ++d) wide(b, i, h, d) = x(b, h, i, d);
          }
        }
      }
      return wide;
    };
    const auto seen = [](auto& wide, Index channels) {
      return wide.view().transpose(1, 2).slice(3, 0, channels);
    };
    const Result packed = run(Softmax{kCausal}, in);
    for (const Index gap : {0, 1, 7}) {
      const auto q = spread(in.q, gap), k = spread(in.k, gap), v = spread(in.v, gap);
      Tensor<float, 4> out({shape.B, shape.N, shape.Hq, shape.E + gap});
      std::fill_n(out.data(), out.size(), 123.f);
      const auto view = seen(out, shape.E);
      forward(Softmax{kCausal}, seen(q, shape.D), seen(k, shape.D), seen(v, shape.E), view);
      CHECK((doubles_of(view) == packed.out));
      for (Index i = 0; i < shape.N && gap > 0; ++i) CHECK(out(0, i, 1, shape.E) == 123.f);
    }
  }
}

TEST_CASE("softmax: broadcast keys and values, and reversed queries", "[softmax]") {
  const AttentionShape shape{.B = 3, .Hq = 2, .Hk = 2, .N = 20, .M = 40, .D = 16, .E = 16};
  AttentionInputs<float> in(shape);
  // One batch element's keys for all: stride 0.
  const View<const float, 4> k = in.k.view().slice(0, 0, 1).broadcast(in.k.shape());
  const View<const float, 4> v = in.v.view().slice(0, 0, 1).broadcast(in.v.shape());
  const View<const float, 4> q(in.q.data() + 19 * 16, in.q.shape(), {2 * 20 * 16, 20 * 16, -16, 1});
  Tensor<float, 4> out({3, 2, 20, 16});
  forward(Softmax{}, q, k, v, out);
  AttentionInputs<float> copy(shape);
  for (Index b = 0; b < 3; ++b) {
    for (Index h = 0; h < 2; ++h) {
      for (Index j = 0; j < 40; ++j) {
        for (Index d = 0; d < 16; ++d) {
          copy.k(b, h, j, d) = in.k(0, h, j, d);
          copy.v(b, h, j, d) = in.v(0, h, j, d);
        }
      }
      for (Index i = 0; i < 20; ++i) {
        for (Index d = 0; d < 16; ++d) copy.q(b, h, i, d) = in.q(b, h, 19 - i, d);
      }
    }
  }
  CHECK((doubles_of(out.view()) == run(Softmax{}, copy).out));
}

TEST_CASE("softmax: the same bits with 1, 2 and 3 threads", "[softmax]") {
  const AttentionShape decode{.B = 1, .Hq = 4, .Hk = 2, .N = 1, .M = 5000, .D = 24, .E = 20};
  const AttentionShape prompt{.B = 1, .Hq = 2, .Hk = 1, .N = 333, .M = 333, .D = 40, .E = 24};
  for (const AttentionShape& shape : {kFew, kWide, kMany, decode, prompt}) {
    const AttentionInputs<float> in(shape);
    const Result alone = run(Softmax{kCausal}, in);
    for (const int threads : {2, 3}) {
      auto executor = fresh_threads(threads);
      const Context context(executor);
      INFO(cases::text(shape) << ", " << threads << " threads");
      CHECK((run(Softmax{kCausal}, in, context) == alone));
      CHECK((run(Softmax{kCausal}, in, context) == alone));  // with scratch memory that was used
    }
  }
}

TEST_CASE("softmax: few queries get the same bits from heads together and alone", "[softmax]") {
  const AttentionInputs<float> in({.B = 1, .Hq = 8, .Hk = 4, .N = 3, .M = 333, .D = 64, .E = 64});
  const Result together = run(Softmax{kCausal}, in);
  Tensor<float, 4> alone({1, 8, 3, 64});
  for (Index h = 0; h < 4; ++h)
    forward(Softmax{kCausal}, in.q.view().slice(1, 2 * h, 2), in.k.view().slice(1, h, 1),
            in.v.view().slice(1, h, 1), alone.view().slice(1, 2 * h, 2));
  CHECK((doubles_of(alone.view()) == together.out));
}

// Heads whose keys lie side by side are read in turns by one task, as many as leave work for all
// threads.
TEST_CASE("softmax: few queries get the same bits from keys in the order of tokens", "[softmax]") {
  const AttentionInputs<float> in({.B = 2, .Hq = 6, .Hk = 3, .N = 1, .M = 2100, .D = 24, .E = 20});
  const auto by_token = [](const Tensor<float, 4>& x) {
    Tensor<float, 4> tokens({x.extent(0), x.extent(2), x.extent(1), x.extent(3)});
    for (Index b = 0; b < x.extent(0); ++b)
      for (Index h = 0; h < x.extent(1); ++h)
        for (Index j = 0; j < x.extent(2); ++j)
          std::copy_n(&x(b, h, j, 0), x.extent(3), &tokens(b, j, h, 0));
    return tokens;
  };
  const auto k = by_token(in.k), v = by_token(in.v);
  const Result by_head = run(Softmax{kCausal}, in);
  for (const int threads : {1, 2, 3}) {
    auto executor = fresh_threads(threads);
    const Context context(executor);
    Tensor<float, 4> out({2, 6, 1, 20});
    forward(Softmax{kCausal}, in.q, k.view().transpose(1, 2), v.view().transpose(1, 2), out,
            context);
    INFO(threads << " threads");
    CHECK((doubles_of(out.view()) == by_head.out));
  }
}

TEST_CASE("softmax: identities", "[softmax]") {
  const AttentionInputs<float> in(kMany);
  const Result plain = run(Softmax{}, in);
  // A window as wide as the keys, a mask that hides nothing and a bias of zero change no bit.
  Tensor<float, 4> zero({1, 1, 1, 1});
  Tensor<std::uint8_t, 4> one({1, 1, 1, 1});
  one(0, 0, 0, 0) = 1;
  CHECK((run(Softmax{Window{1000, 1000}}, in) == plain));
  CHECK((run(Softmax{BoolMask{std::as_const(one).view()}}, in) == plain));
  CHECK(cases::error_of(run(Softmax{NoMask{}, AdditiveBias{std::as_const(zero).view()}}, in).out,
                        plain.out) < 1e-6);
  // A sink of -inf takes nothing, and a huge cap bends nothing.
  Tensor<float, 1> sinks({2});
  std::fill_n(sinks.data(), 2, -kInfinity);
  const SinkSoftmax none{std::as_const(sinks).view()};
  CHECK(cases::error_of(run(Softmax{NoMask{}, NoScore{}, none}, in).out, plain.out) < 1e-6);
  CHECK(cases::error_of(run(Softmax{NoMask{}, SoftCap{1e6}}, in).out, plain.out) < 2e-6);
}
