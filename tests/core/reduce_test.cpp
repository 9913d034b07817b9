#include "support/catch.hpp"
#include <weft/core/reduce.hpp>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace {

using weft::Accumulator;
using weft::Index;

constexpr Index kSizes[] = {0, 1, 2, 7, 15, 16, 17, 63, 64, 65, 127, 500, 4096, 10'001};

template <class S>
std::vector<S> random_row(Index n, double from, double to) {
  std::mt19937_64 random(static_cast<std::uint64_t>(n) + 1);
  std::uniform_real_distribution<double> uniform(from, to);
  std::vector<S> out;
  for (Index i = 0; i < n; ++i) out.push_back(S(static_cast<Accumulator<S>>(uniform(random))));
  return out;
}

template <class S>
std::vector<long double> widened(const std::vector<S>& x) {
  return {x.begin(), x.end()};
}

struct Moments {
  long double sum = 0, sum_of_magnitudes = 0, sum_of_squares = 0, mean = 0, variance = 0;
};

Moments reference_moments(const std::vector<long double>& x) {
  Moments m;
  for (long double v : x) {
    m.sum += v;
    m.sum_of_magnitudes += std::fabs(v);
    m.sum_of_squares += v * v;
  }
  if (x.empty()) return m;
  const auto n = static_cast<long double>(x.size());
  m.mean = m.sum / n;
  for (long double v : x) m.variance += (v - m.mean) * (v - m.mean) / n;
  return m;
}

// What the header promises, with one more rounding per element for a product or a difference.
template <class T>
double rounding(Index n) {
  const double lanes = 4. * static_cast<double>(weft::kWidth<T>);
  return (static_cast<double>(n) / lanes + 12) * std::numeric_limits<T>::epsilon();
}

double distance(long double a, long double b) { return static_cast<double>(std::fabs(a - b)); }

}  // namespace

TEMPLATE_TEST_CASE("row reductions agree with long double", "[reduce]", float, double, weft::bf16,
                   weft::fp16) {
  using T = Accumulator<TestType>;
  for (Index n : kSizes) {
    const auto x = random_row<TestType>(n, -1, 3);
    const Moments want = reference_moments(widened(x));
    const double eps = rounding<T>(n);
    INFO("n = " << n);
    CHECK(distance(weft::row_sum(x.data(), n), want.sum) <=
          eps * static_cast<double>(want.sum_of_magnitudes));
    CHECK(distance(weft::row_sum_of_squares(x.data(), n), want.sum_of_squares) <=
          eps * static_cast<double>(want.sum_of_squares));
    const auto got = weft::row_mean_variance(x.data(), n);
    CHECK(distance(got.mean, want.mean) <= eps * 3);
    CHECK(distance(got.variance, want.variance) <= 4 * eps * static_cast<double>(want.variance));
  }
}

TEMPLATE_TEST_CASE("variance does not cancel far from zero", "[reduce]", float, double) {
  const auto x = random_row<TestType>(1000, 4096, 4097);
  const auto want = static_cast<double>(reference_moments(widened(x)).variance);
  CHECK(want > 0.05);
  // The squared error of the mean adds to the variance.
  const double mean_error = 4096 * rounding<TestType>(1000);
  CHECK(std::fabs(double{weft::row_mean_variance(x.data(), 1000).variance} - want) <=
        4 * rounding<TestType>(1000) * want + mean_error * mean_error);
}

TEMPLATE_TEST_CASE("row maximum finds the largest element at any place", "[reduce]", float, double,
                   weft::bf16, weft::fp16) {
  for (Index n : kSizes) {
    if (n > 500) continue;
    auto x = random_row<TestType>(n, -9, -1);
    for (Index at = 0; at < n; ++at) {
      const auto i = static_cast<std::size_t>(at);
      const TestType kept = x[i];
      x[i] = TestType(-0.5f);
      if (weft::row_max(x.data(), n) != -0.5f) FAIL("n = " << n << ", largest at " << at);
      x[i] = kept;
    }
  }
  const std::vector<TestType> huge(3, std::numeric_limits<TestType>::lowest());
  CHECK(weft::row_max(huge.data(), 3) == Accumulator<TestType>(huge[0]));
}

TEST_CASE("reductions of a row read nothing beyond it", "[reduce]") {
  for (Index n : kSizes) {
    std::vector<float> x(static_cast<std::size_t>(n) + 40, 1e30f);
    std::fill_n(x.begin(), n, 1.f);
    CHECK(weft::row_sum(x.data(), n) == static_cast<float>(n));
    CHECK(weft::row_sum_of_squares(x.data(), n) == static_cast<float>(n));
    CHECK(weft::row_mean_variance(x.data(), n).variance == 0);
    if (n > 0) CHECK(weft::row_max(x.data(), n) == 1);
  }
}

// -ffast-math promises nothing about NaN and infinities.
#if !defined(__FAST_MATH__)
TEMPLATE_TEST_CASE("NaN anywhere in a row reaches its reductions", "[reduce]", float, double,
                   weft::bf16, weft::fp16) {
  for (Index n : {1, 5, 16, 33, 150}) {
    auto x = random_row<TestType>(n, -1, 1);
    for (Index at = 0; at < n; ++at) {
      const auto i = static_cast<std::size_t>(at);
      const TestType kept = x[i];
      x[i] = std::numeric_limits<TestType>::quiet_NaN();
      const bool all = std::isnan(weft::row_sum(x.data(), n)) &&
                       std::isnan(weft::row_sum_of_squares(x.data(), n)) &&
                       std::isnan(weft::row_mean_variance(x.data(), n).variance) &&
                       std::isnan(weft::row_max(x.data(), n));
      if (!all) FAIL("n = " << n << ", NaN at " << at);
      x[i] = kept;
    }
  }
}

TEST_CASE("reductions of empty rows and of infinities", "[reduce]") {
  constexpr float inf = std::numeric_limits<float>::infinity();
  const float* none = nullptr;
  CHECK(weft::row_sum(none, 0) == 0);
  CHECK(weft::row_sum_of_squares(none, 0) == 0);
  CHECK(weft::row_max(none, 0) == -inf);
  CHECK(weft::row_mean_variance(none, 0).mean == 0);
  CHECK(weft::row_mean_variance(none, 0).variance == 0);
  const std::vector<float> low(21, -inf);
  CHECK(weft::row_max(low.data(), 21) == -inf);
  CHECK(weft::row_sum(low.data(), 21) == -inf);
}
#endif
