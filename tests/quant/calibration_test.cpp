#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/calibration.hpp>

#include <cmath>
#include <numeric>
#include <vector>

namespace {

using namespace weft::quant;
using weft::Index;

/// Mostly small numbers of both signs, and a few large ones.
std::vector<float> long_tailed(Index n, std::uint64_t seed = 3) {
  const auto x = even_values<double, 1>({n}, seed, -1.2, 1.1);
  std::vector<float> out;
  for (const double v : x.span())
    out.push_back(static_cast<float>(v * v * v / (1.3 - std::abs(v))));
  return out;
}

std::span<const float> span_of(const std::vector<float>& x) { return x; }

double squared_error(const std::vector<float>& x, const AffineGrid<double>& grid) {
  double sum = 0;
  for (const double v : x) sum += std::pow(v - grid.round_trip(v), 2);
  return sum;
}

}  // namespace

TEST_CASE("ranges of all numbers", "[quant]") {
  const std::vector<float> x{0.5f, -3, 2};
  CHECK(absmax(x) == 3);
  CHECK(min_max(x).low == -3);
  CHECK(min_max(x).high == 2);
  CHECK(absmax(std::vector<float>{}) == 0);
}

TEST_CASE("percentiles are linear between sorted numbers", "[quant]") {
  const std::vector<float> x{4, 1, 3, 2, 5};
  CHECK(percentile(x, 0) == 1);
  CHECK(percentile(x, 50) == 3);
  CHECK(percentile(x, 100) == 5);
  CHECK(percentile(x, 60) == Approx(3.4));
  CHECK(percentile(std::vector<float>{7}, 30) == 7);
  CHECK(percentile_absmax(std::vector<float>{-5, 1, 2}, 100) == 5);
  CHECK(percentile_range(x, 75).low == Approx(2));
  CHECK(percentile_range(x, 75).high == Approx(4));
}

TEST_CASE("percentiles of many numbers agree with sorting them", "[quant]") {
  const auto x = long_tailed(777);
  auto sorted = x;
  std::sort(sorted.begin(), sorted.end());
  for (const double p : {0.1, 1., 33., 50., 99., 99.9}) {
    const double t = 776 * p / 100;
    const auto i = static_cast<std::size_t>(t);
    const double f = t - static_cast<double>(i);
    CHECK(percentile(x, p) == Approx((1 - f) * sorted[i] + f * sorted[i + 1]).epsilon(1e-14));
  }
}

TEST_CASE("moving ranges forget slowly", "[quant]") {
  MovingRange range;
  range.observe(std::vector<float>{-1, 2});
  CHECK(range.range().low == -1);
  CHECK(range.range().high == 2);
  range.observe(std::vector<float>{-2, 1});
  CHECK(range.range().low == Approx(-1.1));
  CHECK(range.range().high == Approx(1.9));
  MovingRange last(0);
  last.observe(std::vector<float>{1, 2});
  last.observe(std::vector<float>{3, 4});
  CHECK(last.range().low == 3);
}

TEST_CASE("the clip of least squared error", "[quant]") {
  const auto x = long_tailed(500);
  for (const int bits : {2, 3, 4, 8}) {
    const ClipChoice choice = mse_clip(x, bits);
    CHECK(choice.clip == Approx(absmax(x) * choice.index / 100).epsilon(1e-15));
    double least = HUGE_VAL;
    int first = 0;
    for (int i = 1; i <= 100; ++i) {
      const auto grid = symmetric_grid(absmax(x) * i / 100, signed_codes(bits));
      const double error = squared_error(x, grid);
      if (error < least * (1 - 1e-12)) {
        least = error;
        first = i;
      }
    }
    CHECK(choice.index == first);
    CHECK(choice.error == Approx(least).epsilon(1e-12));
    CHECK(choice.error <= mse_clip_errors(x, bits)[99]);
  }
  CHECK(mse_clip(x, 2).clip < mse_clip(x, 8).clip);
}

TEST_CASE("ranges of GPTQ", "[quant]") {
  const auto range = [](std::vector<float> x, bool symmetric) {
    return gptq_range(span_of(x), symmetric);
  };
  CHECK(range({1, 3}, false).low == 0);
  CHECK(range({1, 3}, false).high == 3);
  CHECK(range({-1, 3}, true).low == -3);
  CHECK(range({-4, 3}, true).high == 4);
  CHECK(range({1, 3}, true).low == 0);  // nothing negative
  CHECK(range({0, 0}, true).low == -1);
  CHECK(range({0, 0}, false).high == 1);

  const AffineGrid<double> grid = gptq_grid({-3, 3}, 4, true);
  CHECK(grid.scale == Approx(0.4));
  CHECK(grid.zero == 8);
  CHECK(gptq_grid({-1, 2}, 2, false).zero == 1);
}

TEST_CASE("the shrunk range of least error", "[quant]") {
  const auto x = long_tailed(300);
  for (const bool symmetric : {true, false})
    for (const int bits : {3, 8}) {
      const GridChoice choice = gptq_shrink_search(span_of(x), bits, symmetric);
      const Range full = gptq_range(span_of(x), symmetric);
      double least = HUGE_VAL;
      int first = 0;
      for (int i = 0; i < 80; ++i) {
        const double p = 1 - i / 100.;
        const auto grid = gptq_grid({p * full.low, p * full.high}, bits, symmetric);
        double error = 0;
        for (const double v : x) error += std::pow(std::abs(v - grid.round_trip(v)), 2.4);
        if (error < least) {
          least = error;
          first = i;
        }
      }
      CHECK(choice.index == first);
      CHECK(choice.error == Approx(least).epsilon(1e-12));
      const auto shrunk = gptq_grid({(1 - first / 100.) * full.low, (1 - first / 100.) * full.high},
                                    bits, symmetric);
      CHECK(choice.grid.scale == shrunk.scale);
    }
  const std::vector<double> doubles(x.begin(), x.end());
  CHECK(gptq_shrink_search(std::span<const double>(doubles), 3, true).index ==
        gptq_shrink_search(span_of(x), 3, true).index);
}

TEST_CASE("histograms count magnitudes", "[quant]") {
  const std::vector<float> x{0, -0.9f, 1, 2.5f, -4, 4};
  CHECK(magnitude_histogram(x, 4) == std::vector<double>{2, 1, 1, 2});
  CHECK(magnitude_histogram(std::vector<float>(3), 2) == std::vector<double>{3, 0});
}

TEST_CASE("histograms at few levels by hand", "[quant]") {
  std::vector<double> coarse;
  const double counts[] = {1, 3, 0, 5, 0, 0};
  detail::coarsen(counts, 2, coarse);  // segments of three bins
  CHECK(coarse == std::vector<double>{2, 2, 0, 5, 0, 0});
  detail::coarsen(counts, 4, coarse);  // of 1, 2, 1 and 2
  CHECK(coarse == std::vector<double>{1, 3, 0, 5, 0, 0});
  // P = (1, 3) / 4 with nothing clipped, Q = (2, 2) / 4
  const std::vector<double> even{2, 2};
  const double expected = 0.25 * std::log(0.5) + 0.75 * std::log(1.5);
  CHECK(detail::divergence(std::span(counts).first(2), 0, even) == Approx(expected));
  CHECK(std::isinf(detail::divergence(std::span(counts).first(2), 1, {0, 0})));
}

TEST_CASE("the clip of least divergence", "[quant]") {
  auto x = long_tailed(4000);
  x.push_back(40);
  const ClipChoice choice = entropy_threshold(x, 512, 32);
  CHECK(choice.clip == Approx(40. * choice.index / 512));
  CHECK(choice.clip < 20);  // one outlier is given up
  CHECK(choice.index >= 32);
  CHECK(choice.error >= 0);
  // At as many levels as bins nothing is lost.
  const ClipChoice all = entropy_threshold(x, 64, 64);
  CHECK(all.index == 64);
  CHECK(all.error == Approx(0).margin(1e-12));
}

TEST_CASE("no calibrator gives more than the largest magnitude", "[quant]") {
  const auto x = long_tailed(600);
  const double most = absmax(x);
  CHECK(percentile_absmax(x, 100) == most);
  CHECK(percentile_absmax(x, 99) <= most);
  CHECK(mse_clip(x, 4).clip <= most);
  CHECK(entropy_threshold(x).clip <= most * (1 + 1e-12));
}

TEST_CASE("calibrators of zeros", "[quant]") {
  const std::vector<float> zeros(9);
  CHECK(absmax(zeros) == 0);
  CHECK(percentile(zeros, 99) == 0);
  CHECK(mse_clip(zeros, 8).clip == 0);
  CHECK(mse_clip(zeros, 8).index == 1);
  CHECK(entropy_threshold(zeros).clip == 0);
  CHECK(symmetric_grid(entropy_threshold(zeros).clip, signed_codes(8)).scale == 1);
  CHECK(gptq_shrink_search(span_of(zeros), 4, true).error == 0);
}

TEST_CASE("calibrators refuse what has no range", "[quant]") {
  const std::vector<float> none, x{1, 2};
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    const std::vector<float> y{1, bad};
    CHECK(contains(message_of([&] { absmax(y); }), "x[1] is"));
    CHECK(contains(message_of([&] { min_max(y); }), "x[1] is"));
    CHECK(contains(message_of([&] { percentile(y, 50); }), "x[1] is"));
    CHECK(contains(message_of([&] { mse_clip(y, 8); }), "x[1] is"));
    CHECK(contains(message_of([&] { entropy_threshold(y); }), "x[1] is"));
    CHECK(contains(message_of([&] { gptq_shrink_search(span_of(y), 4, true); }), "x[1] is"));
  }
  CHECK(contains(message_of([&] { min_max(none); }), "no numbers"));
  CHECK(contains(message_of([&] { percentile(none, 50); }), "no numbers"));
  CHECK(contains(message_of([&] { percentile(x, 101); }), "0 to 100"));
  CHECK(contains(message_of([&] { percentile_range(x, 40); }), "50 to 100"));
  CHECK(contains(message_of([&] { mse_clip(x, 1); }), "bits"));
  CHECK(contains(message_of([&] { entropy_threshold(x, 8, 9); }), "9 levels of 8 bins"));
  CHECK(contains(message_of([] { MovingRange(1); }), "momentum"));
  CHECK(contains(message_of([] { MovingRange().range(); }), "no batch"));
}
