#include "reference/w8a8.hpp"

#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/core/gemm.hpp>
#include <weft/core/random.hpp>
#include <weft/quant/w8a8.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

Tensor<float, 2> normal(Index rows, Index cols, std::uint64_t seed, float shift = 0) {
  Tensor<float, 2> x({rows, cols});
  Philox(seed, 0).normal(x.span());
  for (float& v : x.span()) v += shift;
  return x;
}

}  // namespace

TEST_CASE("moving ranges of percentiles", "[quant/w8a8]") {
  const double percentile = GENERATE(100.0, 99.0, 75.0);
  MovingRange range(0.9, percentile);
  double low = 0, high = 0;
  for (std::uint64_t batch = 0; batch < 4; ++batch) {
    const auto x = normal(7, 13, batch, static_cast<float>(batch));
    const auto values = doubles_of(x.view());
    const double lo = reference::percentile(values, 100 - percentile);
    const double hi = reference::percentile(values, percentile);
    low = batch == 0 ? lo : 0.9 * low + 0.1 * lo;
    high = batch == 0 ? hi : 0.9 * high + 0.1 * hi;
    range.observe(x.span());
    CHECK(range.range().low == Approx(low).epsilon(1e-13));
    CHECK(range.range().high == Approx(high).epsilon(1e-13));
  }
}

TEST_CASE("activation grids hold zero, whatever the range", "[quant/w8a8]") {
  const float shift = GENERATE(-9.f, 0.f, 9.f);
  const Range range = min_max(normal(10, 10, 3, shift).span());
  const auto grid = activation_grid(range);
  CHECK(grid.round_trip(0) == 0);
  CHECK(grid.zero >= 0);
  CHECK(grid.zero <= 255);
  const double low = std::min(range.low, 0.0);
  CHECK(grid.round_trip(low) == Approx(low).margin(grid.scale));
  CHECK(activation_grid({0, 0}).scale == 1e-8);
}

TEST_CASE("weight grids use every code, and unsigned ones where they can", "[quant/w8a8]") {
  auto w = normal(5, 9, 4);
  w(2, 3) = -6;
  const auto grid = weight_grid<float>(w);
  CHECK(grid.scale == 6. / 127);
  CHECK(grid.codes == CodeRange{-128, 127});
  for (float& v : w.span()) v = std::abs(v);
  CHECK(weight_grid<float>(w).codes == CodeRange{0, 255});
  CHECK(weight_grid<float>(w).encode(6) == 255);
  CHECK(weight_grid<float>(Tensor<float, 2>({2, 2})).round_trip(0) == 0);
}

TEST_CASE("the search for clips finds the best of a hundred", "[quant/w8a8]") {
  const int bits = GENERATE(2, 4, 8);
  const auto w = normal(12, 20, 5);
  const auto values = doubles_of(w.view());
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  const auto grid = searched_weight_grid<float>(w, bits);
  double least = INFINITY, best = 0;
  for (int i = 1; i <= 100; ++i) {
    const double clip = (largest + 0.5) * i / 100,
                 error = reference::clip_error(values, clip, bits);
    if (error < least) {
      least = error;
      best = clip;
    }
  }
  CHECK(grid.scale == Approx(best / (std::ldexp(1.0, bits - 1) - 1)).epsilon(1e-12));
}

TEST_CASE("integers compute what the simulation does", "[quant/w8a8]") {
  const Index K = GENERATE(1, 7, 64, 130);
  const auto x = normal(9, K, 6, 0.5f), w = normal(11, K, 7);
  const auto bias = even_values<float, 1>({11}, 8);
  const auto input = activation_grid(percentile_range(x.span(), 99));
  const auto weights = searched_weight_grid<float>(w);

  Poisoned<float, 2> y({9, 11});
  w8a8_operator(w, bias, weights, input).apply(x.view(), y.view());

  Tensor<double, 2> xd(x.shape()), wd(w.shape()), expected({9, 11});
  for (Index i = 0; i < x.size(); ++i) xd.data()[i] = static_cast<double>(x.data()[i]);
  for (Index i = 0; i < w.size(); ++i) wd.data()[i] = static_cast<double>(w.data()[i]);
  round_trip(input, xd.view());
  round_trip(weights, wd.view());
  gemm(xd, wd.view().transpose(0, 1), expected);
  for (Index r = 0; r < 9; ++r)
    for (Index c = 0; c < 11; ++c) expected(r, c) += static_cast<double>(bias(c));
  CHECK(largest_error(doubles_of(y.view()), doubles_of(expected.view())) < 1e-6);
  CHECK(y.guards_intact());
}

TEST_CASE("outlier metrics", "[quant/w8a8]") {
  const auto x = normal(100, 100, 9);
  const auto metrics = outlier_metrics<float>(x);
  CHECK(metrics.kurtosis == Approx(3).epsilon(0.1));
  CHECK(metrics.infinity_norm > 3);
  Tensor<double, 2> one({10, 10});
  one(4, 4) = -8;
  // p(1 - p)((1 - p)^3 + p^3) / (p (1 - p))^2 with p = 1 / 100.
  CHECK(outlier_metrics<double>(one).kurtosis == Approx(98.0101).epsilon(1e-4));
  CHECK(outlier_metrics<double>(one).infinity_norm == 8);
  CHECK(outlier_metrics<double>(Tensor<double, 2>({3, 3})).kurtosis == 0);
  CHECK(outlier_metrics<double>(Tensor<double, 2>({0, 3})).infinity_norm == 0);
}

TEST_CASE("the W8A8 recipe refuses what it cannot calibrate", "[quant/w8a8]") {
  Tensor<float, 2> x({1, 2});
  x(0, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(message_of([&] { weight_grid<float>(x); }), "weight(0, 1)"));
  CHECK(contains(message_of([&] { weight_grid<float>(Tensor<float, 2>({0, 4})); }), "[0, 4]"));
  CHECK(contains(message_of([] { MovingRange(0.9, 40); }), "percentile"));
  CHECK(contains(message_of([] { activation_grid({0, INFINITY}); }), "range"));
  CHECK(contains(message_of([&] {
                   w8a8_operator(x, {}, {1, 0, unsigned_codes(8)}, {1, 0, unsigned_codes(8)});
                 }),
                 "signed bytes"));
}
