#include "reference/repq.hpp"

#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/core/random.hpp>
#include <weft/quant/repq.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

/// Activations whose channels differ in scale and place.
Tensor<double, 2> activations(Index tokens, Index channels, std::uint64_t seed) {
  Tensor<double, 2> x({tokens, channels});
  Philox random(seed, 0);
  for (double& v : x.span()) v = static_cast<double>(random.normal());
  for (Index t = 0; t < tokens; ++t)
    for (Index c = 0; c < channels; ++c)
      x(t, c) =
          x(t, c) * std::exp2(static_cast<double>(c % 5) - 2) + 0.5 * static_cast<double>(c % 3);
  return x;
}

/// y = x W^T + bias.
Tensor<double, 2> linear(const Tensor<double, 2>& x, const Tensor<double, 2>& w,
                         const Tensor<double, 1>& bias) {
  Tensor<double, 2> y({x.extent(0), w.extent(0)});
  for (Index t = 0; t < y.extent(0); ++t)
    for (Index r = 0; r < y.extent(1); ++r) {
      y(t, r) = bias(r);
      for (Index c = 0; c < w.extent(1); ++c) y(t, r) += x(t, c) * w(r, c);
    }
  return y;
}

}  // namespace

TEST_CASE("percentile grids are those of the reference", "[quant/repq_vit]") {
  const int bits = GENERATE(2, 4, 8);
  for (const Index n : {2, 9, 100, 5000}) {
    const auto x = activations(n, 1, 3);
    const auto grid = percentile_grid<double>(x, unsigned_codes(bits));
    const auto expected = reference::percentile_grid(doubles_of(x.view()), bits);
    CHECK(grid.scale == Approx(expected.s).epsilon(1e-12));
    CHECK(grid.zero == expected.z);
    for (Index t = 0; t < std::min<Index>(n, 50); ++t)
      CHECK(grid.encode(x(t, 0)) == expected.code(x(t, 0)));
  }
}

TEST_CASE("percentile grids hold equal numbers exactly", "[quant]") {
  for (const double v : {0.0, 3.7, -1e-30, 5e300}) {
    Tensor<double, 2> x({4, 3});
    std::fill_n(x.data(), x.size(), v);
    const auto grid = percentile_grid<double>(x, unsigned_codes(4));
    CHECK(grid.round_trip(v) == v);
  }
  // All three percentiles are 0; the one other number is still in range.
  Tensor<float, 2> sparse({1, 1000000});
  sparse(0, 77) = 1.f;
  const auto grid = percentile_grid<float>(sparse, unsigned_codes(8));
  CHECK(grid.round_trip(0) == 0);
  CHECK(grid.round_trip(1) == Approx(1));
}

TEST_CASE("percentile grids of rows are those of each row", "[quant]") {
  auto w = activations(3, 50, 4);
  const auto grids = percentile_grids<double>(w, unsigned_codes(4));
  REQUIRE(grids.size() == 3);
  const auto expected = reference::percentile_grid(doubles_of(w.view().select(0, 1)), 4);
  CHECK(grids[1].zero == expected.z);
  const double first = w(1, 7);
  round_trip<double>(grids, w.view());
  CHECK(w(1, 7) == Approx(expected.value(first)));
  CHECK(contains(message_of([&] { round_trip<double>(std::span(grids).first(2), w.view()); }),
                 "2 grids for 3"));
}

TEST_CASE("reparameterization keeps what the layers compute", "[quant/repq_vit]") {
  const auto zero = GENERATE(Zero::real, Zero::whole);
  const Index C = 12, R = 5;
  const auto x = activations(60, C, 5);
  const ScaleReparameterization repq(channel_grids<double>(x, unsigned_codes(4)), zero);

  auto gamma = even_values<double, 1>({C}, 6, 0.5, 2), beta = even_values<double, 1>({C}, 7);
  auto w = even_values<double, 2>({R, C}, 8);
  auto bias = even_values<double, 1>({R}, 9);
  const auto n = activations(10, C, 10);  // what the norm multiplies by gamma
  const auto norm = [&] {
    auto out = n.clone();
    for (Index t = 0; t < 10; ++t)
      for (Index c = 0; c < C; ++c) out(t, c) = n(t, c) * gamma(c) + beta(c);
    return out;
  };
  const auto before = norm();
  const auto y = linear(before, w, bias);
  repq.fold_into_norm(gamma.view(), beta.view());
  repq.fold_into_linear(w.view(), bias.view());
  const auto after = norm();
  CHECK(largest_error(doubles_of(linear(after, w, bias).view()), doubles_of(y.view())) < 1e-13);
  for (Index c = 0; c < C; ++c)
    CHECK(after(3, c) == Approx(repq.apply(before(3, c), c)).epsilon(1e-12).margin(1e-12));
}

TEST_CASE("a whole zero keeps every code", "[quant/repq_vit]") {
  const auto x = activations(400, 9, 11);
  const auto grids = channel_grids<double>(x, unsigned_codes(4));
  const ScaleReparameterization repq(grids, Zero::whole);
  Index moved = 0;
  for (Index t = 0; t < 400; ++t)
    for (Index c = 0; c < 9; ++c) {
      const RealZeroGrid& channel = grids[static_cast<std::size_t>(c)];
      moved += repq.grid().encode(repq.apply(x(t, c), c)) != channel.encode(x(t, c));
    }
  CHECK(moved == 0);
}

TEST_CASE("channels of one grid need no change", "[quant]") {
  const std::vector<RealZeroGrid> grids(4, {0.25, 3, unsigned_codes(4)});
  const ScaleReparameterization repq(grids);
  for (Index c = 0; c < 4; ++c) {
    CHECK(repq.r1(c) == 1);
    CHECK(repq.r2(c) == 0);
  }
}

TEST_CASE("a channel of equal numbers gets the common scale", "[quant]") {
  auto x = activations(30, 3, 12);
  for (Index t = 0; t < 30; ++t) x(t, 1) = 40.5;
  const auto grids = channel_grids<double>(x, unsigned_codes(4));
  const ScaleReparameterization repq(grids);
  CHECK(grids[1].scale == 0);
  CHECK(repq.r1(1) == 1);
  const double moved = repq.apply(40.5, 1);
  CHECK(std::abs(repq.grid().round_trip(moved) - moved) <= repq.grid().scale);
  CHECK(repq.grid().scale == Approx((grids[0].scale + grids[2].scale) / 2));

  Tensor<double, 2> flat({5, 2});
  const ScaleReparameterization nothing(channel_grids<double>(flat, unsigned_codes(4)));
  CHECK(nothing.grid().scale == 1);
  CHECK(nothing.r2(0) == 0);
}

TEST_CASE("dual clipping is no worse than the extremes", "[quant/repq_vit]") {
  auto x = activations(300, 4, 13);
  x(5, 2) = 80;  // an outlier that only the upper end should give up
  const auto grids = dual_clipped_grids<double>(x, unsigned_codes(4));
  for (Index c = 0; c < 4; ++c) {
    const auto values = doubles_of(x.view().select(1, c));
    const auto error = [&](const RealZeroGrid& grid) {
      return reference::total_squared_error(values, [&](double v) { return grid.round_trip(v); });
    };
    const auto [lo, hi] = std::minmax_element(values.begin(), values.end());
    const double s = (*hi - *lo) / 15;
    const RealZeroGrid ends{s, std::nearbyint(-*lo / s), unsigned_codes(4)};
    const RealZeroGrid& chosen = grids[static_cast<std::size_t>(c)];
    CHECK(error(chosen) <= error(ends));
    // The step is one of those that pairs of factors give.
    bool found = false;
    for (int i = 0; i <= 10; ++i)
      for (int j = 0; j <= 10; ++j)
        found |= std::abs(((1 - 0.05 * j) * *hi - (1 - 0.05 * i) * *lo) / 15 - chosen.scale) <
                 1e-12 * chosen.scale;
    CHECK(found);
  }
  CHECK(grids[2].scale < 0.99 * 80 / 15);
}

TEST_CASE("scale reparameterization refuses what does not fit", "[quant]") {
  Tensor<double, 2> x({2, 2}), none({0, 2});
  x(1, 0) = std::numeric_limits<double>::quiet_NaN();
  CHECK(contains(message_of([&] { channel_grids<double>(x, unsigned_codes(4)); }), "finite"));
  CHECK(contains(message_of([&] { channel_grids<double>(none, unsigned_codes(4)); }), "no rows"));
  CHECK(contains(message_of([&] { percentile_grid<double>(none, unsigned_codes(4)); }),
                 "no numbers"));
  CHECK(contains(message_of([] { ScaleReparameterization({}); }), "no channels"));
  const std::vector<RealZeroGrid> grids(3, {0.25, 3, unsigned_codes(4)});
  const ScaleReparameterization repq(grids);
  Tensor<double, 1> two({2});
  CHECK(contains(message_of([&] { repq.fold_into_norm(two.view(), two.view()); }), "3 channels"));
  CHECK(contains(message_of([&] { repq.fold_into_linear(x.view(), two.view()); }), "3 channels"));
  const std::vector<double> numbers{1, 2};
  CHECK_THROWS_AS(quantile(numbers, 1.5), weft::error);
  CHECK(quantile(numbers, 0.25) == 1.25);
}
