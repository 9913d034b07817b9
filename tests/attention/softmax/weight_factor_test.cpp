#include "attention/softmax/compare.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/logit_factor.hpp>
#include <weft/attention/softmax/merge.hpp>
#include <weft/attention/softmax/top_k.hpp>
#include <weft/attention/softmax/weight_factor.hpp>

using namespace weft;

// softmax/urpe and softmax/rmt_decay against the reference: cases/softmax.hpp, grid_score_test.cpp.

namespace {

/// N queries (few go by the direct engine, many by the tiled one) and 300 keys in two heads.
struct Setup {
  explicit Setup(Index n)
      : N(n), q(rows(n, 8, 1, 2)), k(rows(kKeys, 8, 2, 2)), v(rows(kKeys, 5, 3, 1)) {}

  template <class Mixer>
  std::vector<double> run(const Mixer& mixer, const Context& ctx = Context()) const {
    const Poisoned<double, 4> out({1, 2, N, 5});
    forward(mixer, q, k, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  static Tensor<double, 4> rows(Index count, Index dim, std::uint64_t seed, double size) {
    const std::array<Index, 4> shape{1, 2, count, dim};
    return even_values<double, 4>(shape, seed, -size, size);
  }

  static constexpr Index kKeys = 300;
  Index N;
  Tensor<double, 4> q, k, v;
};

using Factor = WeightFactor<LogitFactor<double>>;

Factor constant(Tensor<double, 4>& one, double c) {
  one = Tensor<double, 4>({1, 1, 1, 1});
  one(0, 0, 0, 0) = c;
  return {LogitFactor<double>(one.view())};
}

std::vector<double> times(std::vector<double> x, double c) {
  for (double& e : x) e *= c;
  return x;
}

}  // namespace

TEST_CASE("weight factor: a constant multiplies the output, whatever the normalizer", "[softmax]") {
  for (const Index N : {2, 50}) {
    const Setup s(N);
    Tensor<double, 4> one;
    const auto check = [&](const auto& normalizer) {
      const auto plain = s.run(Softmax{NoMask{}, SoftCap{3}, normalizer});
      for (const double c : {1.0, -2.0, 0.0}) {
        const Chain score{SoftCap{3}, constant(one, c)};
        CHECK((s.run(Softmax{NoMask{}, score, normalizer}) == times(plain, c)));
      }
    };
    check(PlainSoftmax{});
    check(OffByOneSoftmax{});
    check(ReluWeights<2>{});
    check(TopK{7});
  }
}

TEST_CASE("weight factor: log-sum-exp is that of the weights without it; parts merge",
          "[softmax]") {
  const Setup s(40);
  const auto c = even_values<double, 4>({1, 2, 40, Setup::kKeys}, 4, -1, 2);
  const auto part = [&](Index first, Index count, const View<double, 4>& out,
                        const View<double, 3>& lse) {
    const Softmax mixer{NoMask{},
                        WeightFactor{LogitFactor<double>(c.view().slice(3, first, count))}};
    forward_with_lse(mixer, s.q, s.k.view().slice(2, first, count),
                     s.v.view().slice(2, first, count), out, lse);
  };
  Tensor<double, 4> whole({1, 2, 40, 5}), merged(whole.shape());
  Tensor<double, 3> lse({1, 2, 40}), plain_lse(lse.shape()), merged_lse(lse.shape());
  part(0, Setup::kKeys, whole.view(), lse.view());
  forward_with_lse(Softmax{}, s.q, s.k, s.v, merged, plain_lse);
  CHECK(cases::error_of(doubles_of(lse.view()), doubles_of(plain_lse.view())) < 1e-13);

  Tensor<double, 5> parts({2, 1, 2, 40, 5});
  Tensor<double, 4> sums({2, 1, 2, 40});
  part(0, 130, parts.view().select(0, 0), sums.view().select(0, 0));
  part(130, 170, parts.view().select(0, 1), sums.view().select(0, 1));
  merge_partials(parts, sums, merged, merged_lse.view());
  CHECK(cases::error_of(doubles_of(merged.view()), doubles_of(whole.view())) < 1e-13);
}

TEST_CASE("weight factor: hidden keys do not matter, whatever their factor is", "[softmax]") {
  for (const Index N : {2, 50}) {
    const Setup s(N);
    auto c = even_values<double, 4>({1, 1, N, Setup::kKeys}, 4, -1, 2);
    const Softmax mixer{Causal{Align::top_left}, WeightFactor{LogitFactor<double>(c.view())}};
    const auto before = s.run(mixer);
    for (Index i = 0; i < N; ++i)
      for (Index j = i + 1; j < Setup::kKeys; ++j) c(0, 0, i, j) = j % 2 == 0 ? NAN : INFINITY;
    CHECK((s.run(mixer) == before));
    c(0, 0, 1, 0) = NAN;  // visible
    const auto after = s.run(mixer);
    CHECK(std::isnan(after[5]));
    CHECK(after[0] == before[0]);
  }
}

TEST_CASE("weight factor: threads; errors of the factor", "[softmax]") {
  const Setup s(50);
  const auto c = even_values<double, 4>({1, 2, 50, Setup::kKeys}, 4, -1, 2);
  const Softmax mixer{NoMask{}, WeightFactor{LogitFactor<double>(c.view())}};
  CHECK(same_for_any_threads([&](const Context& ctx) { return s.run(mixer, ctx); }));
  CHECK(contains(message_of([&] { Setup(49).run(mixer); }), "axis 2"));
  const auto table = even_values<double, 2>({2, 300}, 5);
  const WeightFactor relative{RelativeFactor{table.view(), 299}};
  CHECK(contains(message_of([&] {
                   s.run(Softmax{NoMask{}, relative});
                 }),
                 "distances from -299 to 49"));
}
