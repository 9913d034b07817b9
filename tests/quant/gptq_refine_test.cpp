#include "support/catch.hpp"
#include "support/threads.hpp"
#include <weft/core/random.hpp>
#include <weft/quant/gptq_refine.hpp>

#include <limits>

using namespace weft;
using namespace weft::quant;

namespace {

Tensor<float, 2> normal(Index rows, Index cols, std::uint64_t seed) {
  Tensor<float, 2> x({rows, cols});
  Philox(seed).normal(x.span());
  return x;
}

/// Inputs whose channels go together, so that H is far from diagonal.
GptqHessian hessian_of(Index cols, std::uint64_t seed) {
  auto x = normal(60, cols, seed);
  for (Index t = 0; t < 60; ++t)
    for (Index k = 1; k < cols; ++k) x(t, k) += 0.8f * x(t, k - 1);
  GptqHessian hessian(cols);
  hessian.add_batch(x.view());
  return hessian;
}

double decoded(const OffsetGroups& q, Index r, Index k) {
  return q.scale(r, k / q.group) * q.codes(r, k) + q.offset(r, k / q.group);
}

/// sum over rows of (w - q) H (w - q)^T, H damped.
double loss(const Tensor<float, 2>& w, const GptqHessian& hessian, double damping,
            const OffsetGroups& q) {
  const auto h = hessian.matrix();
  const Index cols = w.extent(1);
  double mean = 0, sum = 0;
  for (Index k = 0; k < cols; ++k) mean += h(k, k) / static_cast<double>(cols);
  for (Index r = 0; r < w.extent(0); ++r)
    for (Index i = 0; i < cols; ++i)
      for (Index j = 0; j < cols; ++j)
        sum += (double(w(r, i)) - decoded(q, r, i)) * (h(i, j) + (i == j ? damping * mean : 0)) *
               (double(w(r, j)) - decoded(q, r, j));
  return sum;
}

}  // namespace

TEST_CASE("refining never raises the loss, and says what it is") {
  for (const Index group : {5, 8, 37}) {
    CAPTURE(group);
    const auto w = normal(9, 37, 1);
    const auto hessian = hessian_of(37, 2);
    auto q = offset_groups(gptq(w, hessian, {.bits = 3, .group = group}));
    const double before = loss(w, hessian, 0.05, q);
    const auto losses = refine(w, hessian, 0.05, 3, q);
    REQUIRE(losses.size() == 4);
    CHECK(losses[0] == Approx(before).epsilon(1e-9));
    for (std::size_t i = 1; i < losses.size(); ++i) CHECK(losses[i] <= losses[i - 1] * (1 + 1e-9));
    CHECK(losses[3] < 0.97 * losses[0]);
    CHECK(losses[3] == Approx(loss(w, hessian, 0.05, q)).epsilon(1e-6));
    for (const auto code : q.codes.span()) CHECK(code < 8);
  }
}

TEST_CASE("no scale, offset or code of a refined row can be bettered alone") {
  const auto w = normal(3, 16, 3);
  const auto hessian = hessian_of(16, 4);
  auto q = offset_groups(gptq(w, hessian, {.bits = 2, .group = 8}));
  q.bits = 2;
  refine(w, hessian, 0.01, 60, q);
  const double least = loss(w, hessian, 0.01, q) * (1 - 1e-7);
  for (Index r = 0; r < 3; ++r) {
    for (Index g = 0; g < 2; ++g)
      for (const double step : {-1e-3, 1e-3}) {
        q.scale(r, g) += step;
        CHECK(loss(w, hessian, 0.01, q) >= least);
        q.scale(r, g) -= step;
        q.offset(r, g) += step;
        CHECK(loss(w, hessian, 0.01, q) >= least);
        q.offset(r, g) -= step;
      }
    for (Index k = 0; k < 16; ++k) {
      const auto kept = q.codes(r, k);
      for (std::uint8_t code = 0; code < 4; ++code) {
        q.codes(r, k) = code;
        CHECK(loss(w, hessian, 0.01, q) >= least);
      }
      q.codes(r, k) = kept;
    }
  }
}

TEST_CASE("a weight that lies on its grids is left alone") {
  Tensor<float, 2> w({2, 12});
  for (Index i = 0; i < 24; ++i) w.data()[i] = static_cast<float>(i * 7 % 16 - 5) * 0.25f;
  const auto hessian = hessian_of(12, 5);
  OffsetGroups q{Tensor<std::uint8_t, 2>({2, 12}), Tensor<double, 2>({2, 2}),
                 Tensor<double, 2>({2, 2}), 6, 4};
  for (Index i = 0; i < 24; ++i) q.codes.data()[i] = static_cast<std::uint8_t>(i * 7 % 16);
  for (Index i = 0; i < 4; ++i) q.scale.data()[i] = 0.25, q.offset.data()[i] = -1.25;
  const auto losses = refine(w, hessian, 0.01, 2, q);
  CHECK(losses[0] == Approx(0).margin(1e-12));
  for (Index r = 0; r < 2; ++r)
    for (Index k = 0; k < 12; ++k) CHECK(decoded(q, r, k) == Approx(double(w(r, k))).margin(1e-6));
}

TEST_CASE("groups of equal codes and inputs that are never other than zero") {
  auto w = normal(2, 8, 6);
  for (Index k = 0; k < 4; ++k) w(0, k) = 0.5f;
  GptqHessian hessian(8);
  auto x = normal(20, 8, 7);
  for (Index t = 0; t < 20; ++t) x(t, 6) = 0;
  hessian.add_batch(x.view());
  auto q = offset_groups(gptq(w, hessian, {.bits = 4, .group = 4}));
  refine(w, hessian, 0, 3, q);
  for (const double v : q.scale.span()) CHECK(std::isfinite(v));
  for (Index k = 0; k < 4; ++k) CHECK(decoded(q, 0, k) == Approx(0.5).margin(0.05));
}

TEST_CASE("refining does not depend on the number of threads") {
  const auto w = normal(7, 24, 8);
  const auto hessian = hessian_of(24, 9);
  const auto start = [&] { return offset_groups(gptq(w, hessian, {.bits = 4, .group = 8})); };
  auto expected = start();
  refine(w, hessian, 0.1, 2, expected);
  for (const int threads : {2, 3}) {
    auto executor = fresh_threads(threads);
    auto q = start();
    refine(w, hessian, 0.1, 2, q, Context(executor));
    CHECK(std::equal(q.codes.data(), q.codes.data() + q.codes.size(), expected.codes.data()));
    CHECK(std::equal(q.scale.data(), q.scale.data() + q.scale.size(), expected.scale.data()));
  }
}

TEST_CASE("refining refuses what does not fit") {
  auto w = normal(2, 8, 10);
  const auto hessian = hessian_of(8, 11);
  auto q = offset_groups(gptq(w, hessian, {.bits = 4, .group = 4}));
  CHECK_THROWS_AS(refine(normal(3, 8, 1), hessian, 0.1, 1, q), weft::error);
  CHECK_THROWS_AS(refine(w, hessian_of(9, 1), 0.1, 1, q), weft::error);
  CHECK_THROWS_AS(refine(w, hessian, -1, 1, q), weft::error);
  CHECK_THROWS_AS(refine(w, hessian, 0.1, -1, q), weft::error);
  w(0, 0) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(refine(w, hessian, 0.1, 1, q), weft::error);
  q.group = 3;
  CHECK_THROWS_AS(refine(normal(2, 8, 10), hessian, 0.1, 1, q), weft::error);
}
