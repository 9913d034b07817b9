#include "reference/performer.hpp"

#include "attention/linear/heads.hpp"
#include "support/catch.hpp"
#include "support/feature_rows.hpp"
#include "support/message.hpp"
#include <weft/attention/kernelized/performer.hpp>
#include <weft/attention/kernelized/random_features.hpp>

using namespace weft;
using namespace linear_cases;

namespace {

Rows rows_of_matrix(const Tensor<float, 2>& w) {
  Rows rows;
  for (Index f = 0; f < w.extent(0); ++f) rows.push_back(doubles_of(w.view().select(0, f)));
  return rows;
}

std::vector<double> truth_of(const Inputs<float>& in, const Tensor<float, 2>& w,
                             const Performer<>& mixer) {
  std::vector<double> all;
  for (Index b = 0; b < in.q.extent(0); ++b)
    for (Index h = 0; h < in.heads; ++h) {
      const auto head = [&](const Tensor<float, 4>& x) {
        return rows_of<float>(x.view(), b, h / (in.heads / x.extent(1)));
      };
      const auto out = reference::performer(head(in.q), head(in.k), head(in.v), rows_of_matrix(w),
                                            mixer.order == Order::causal, mixer.eps);
      for (const auto& row : out) all.insert(all.end(), row.begin(), row.end());
    }
  return all;
}

/// exp of logits known to some roundings, in quotients of sums.
const double kTolerance = tolerance<float>(300);

}  // namespace

TEST_CASE("performer: forward agrees with the equations", "[kernelized][kernelized/performer]") {
  for (const auto& [N, M, D, E, m] :
       {std::array<Index, 5>{70, 70, 16, 16, 40}, {9, 55, 20, 5, 33}, {1, 1, 1, 1, 1}}) {
    const Inputs<float> in(2, 2, 1, 2, N, M, D, E);
    const auto w = orthogonal_projection(m, D, 7);
    const auto weights = favor_weights<float>(w.view());
    for (const double eps : {0.0, 1e-4}) {
      const Performer all{weights, Order::bidirectional, eps}, causal{weights, Order::causal, eps};
      CHECK(largest_error(run_forward(all, in), truth_of(in, w, all)) <= kTolerance);
      if (N == M)
        CHECK(largest_error(run_forward(causal, in), truth_of(in, w, causal)) <= kTolerance);
    }
  }
}

TEST_CASE("performer: chunks and tokens give what forward gives", "[kernelized]") {
  constexpr Index N = 100, H = 2, D = 12, E = 20;
  const Inputs<float> in(1, H, N, D, E);
  const auto w = orthogonal_projection(32, D, 7);
  const auto weights = favor_weights<float>(w.view());
  const Performer mixer{weights};
  const auto whole = run_forward(mixer, in);
  auto state = make_state(mixer, {1, H, D, E});
  Tensor<float, 4> out(in.out_shape());
  const auto part = [&](auto view) { return view.slice(2, 0, 60); };
  prefill(mixer, state, part(in.q.view()), part(in.k.view()), part(in.v.view()), part(out.view()));
  for (Index t = 60; t < N; ++t)
    step(mixer, state, in.q.view().select(2, t), in.k.view().select(2, t), in.v.view().select(2, t),
         out.view().select(2, t));
  CHECK(largest_error(doubles_of(out.view()), whole) <= kTolerance);
}

TEST_CASE("performer: many features come near to softmax", "[kernelized]") {
  constexpr Index N = 30, D = 8;
  const Inputs<float> in(1, 1, N, D, 8);
  // The kernel itself: mean of phi(q) . phi(k) over its true value, by the number of features.
  const auto error = [&](Index m) {
    const auto w = orthogonal_projection(m, D, 3);
    const auto weights = favor_weights<float>(w.view());
    const FavorFeatures<float> map{&weights};
    const auto g = features_of<float>(map, in.k.view(), true);
    double squares = 0;
    for (Index i = 0; i < N; ++i)
      for (Index j = 0; j < N; ++j) {
        double kernel = 0, dot = 0;
        for (Index f = 0; f < m; ++f) kernel += double{g(0, 0, i, f)} * double{g(0, 0, j, f)};
        for (Index d = 0; d < D; ++d) dot += double{in.k(0, 0, i, d)} * double{in.k(0, 0, j, d)};
        const double ratio = kernel / std::exp(dot / std::sqrt(double(D))) - 1;
        squares += ratio * ratio / (N * N);
      }
    return std::sqrt(squares);
  };
  CHECK(error(16) < 0.3);
  CHECK(error(4096) < error(16) / 8);  // 16 by the rate of m^(-1/2)
}

TEST_CASE("random features: pairs of features and their kernels", "[kernelized]") {
  constexpr Index N = 6, D = 8, m = 2048;
  const Inputs<float> in(1, 1, N, D, 1);
  const auto w = orthogonal_projection(m, D, 5);
  const auto weights = favor_weights<float>(w.view());
  const auto kernel = [&](const auto& map, Index i, Index j) {
    const auto f = features_of<float>(map, in.k.view(), true);
    double sum = 0;
    for (Index r = 0; r < 2 * m; ++r) sum += double{f(0, 0, i, r)} * double{f(0, 0, j, r)};
    return sum;
  };
  const auto logit = [&](Index i, Index j) {
    double dot = 0;
    for (Index d = 0; d < D; ++d) dot += double{in.k(0, 0, i, d)} * double{in.k(0, 0, j, d)};
    return dot / std::sqrt(double(D));
  };
  const TrigonometricFeatures<float> gauss{&weights, false}, fourier{&weights};
  const HyperbolicFeatures<float> hyperbolic{&weights};
  for (Index j = 0; j < N; ++j) {
    // sin^2 + cos^2 = 1 for every feature.
    CHECK(kernel(gauss, j, j) == Approx(1));
    CHECK(kernel(fourier, j, j) == Approx(std::exp(logit(j, j))));
    CHECK(kernel(fourier, 0, j) == Approx(std::exp(logit(0, j))).epsilon(0.05));
    CHECK(kernel(hyperbolic, 0, j) == Approx(std::exp(logit(0, j))).epsilon(0.05));
    CHECK(kernel(gauss, 0, j) ==
          Approx(std::exp(logit(0, j) - logit(0, 0) / 2 - logit(j, j) / 2)).epsilon(0.05));
  }
  Tensor<float, 2> shift({1, 1});
  shift(0, 0) = 2;
  CHECK(kernel(HyperbolicFeatures<float>{&weights, shift}, 0, 1) ==
        Approx(kernel(hyperbolic, 0, 1) * std::exp(-4.0)));
  CHECK(kernel(TrigonometricFeatures<float>{&weights, true, shift}, 0, 1) ==
        Approx(kernel(fourier, 0, 1) * std::exp(-4.0)));
}

TEST_CASE("performer: long queries and keys neither overflow nor vanish", "[kernelized]") {
  constexpr Index N = 20, D = 128;
  Inputs<float> in(1, 1, N, D, 8);
  const auto w = orthogonal_projection(64, D, 7);
  const auto weights = favor_weights<float>(w.view());
  for (const float size : {5.f, 100.f}) {
    for (float& x : in.q.span()) x *= size;
    for (const double value : run_forward(Performer{weights}, in)) CHECK(std::isfinite(value));
  }
  for (float& x : in.k.span()) x = x > 0 ? 300.f : -300.f;
  for (const double value : run_forward(Performer{weights}, in)) CHECK(std::isfinite(value));
}

TEST_CASE("random features: rows of a block are orthogonal, lengths as asked", "[kernelized]") {
  constexpr Index m = 20, D = 8;
  for (const auto lengths : {FeatureLengths::chi, FeatureLengths::root}) {
    const auto w = orthogonal_projection(m, D, 11, lengths);
    double mean = 0;
    for (Index i = 0; i < m; ++i)
      for (Index j = i / D * D; j <= i; ++j) {
        double dot = 0;
        for (Index d = 0; d < D; ++d) dot += double{w(i, d)} * double{w(j, d)};
        if (j < i) CHECK(std::abs(dot) < 1e-5);
        if (j == i && lengths == FeatureLengths::root) CHECK(dot == Approx(8));
        if (j == i) mean += dot / m;
      }
    CHECK((mean > 4 && mean < 14));  // |w|^2 has mean D and variance 2 D
  }
  CHECK(doubles_of(orthogonal_projection(m, D, 11).view()) ==
        doubles_of(orthogonal_projection(m, D, 11).view()));
  CHECK(contains(message_of([] { orthogonal_projection(0, 4, 1); }), "both must be positive"));
}

TEST_CASE("performer: what does not fit is refused", "[kernelized]") {
  const Inputs<float> in(1, 1, 4, 8, 8);
  const auto w = orthogonal_projection(16, 8, 7), narrow = orthogonal_projection(16, 7, 7);
  const auto weights = favor_weights<float>(w.view()), other = favor_weights<float>(narrow.view());
  for (const double eps : {0.0, 1e-4})
    CHECK(contains(message_of([&] {
                     run_forward(Performer{other, Order::causal, eps}, in);
                   }),
                   "weights of 7 columns for a head size of 8"));
  CHECK(contains(message_of([&] {
                   run_forward(Performer{weights, Order::causal, -1}, in);
                 }),
                 "eps is -1"));
  CHECK(contains(message_of([&] {
                   make_state(Performer{weights, Order::causal, 1e-4}, {});
                 }),
                 "looks at later keys"));
}
