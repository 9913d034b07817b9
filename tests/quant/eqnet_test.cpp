#include "reference/quant_methods.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/eqnet.hpp>

#include <array>
#include <limits>

using namespace weft;
using quant::ElasticConfig;

namespace {

struct Rounded {
  Tensor<std::int32_t, 2> codes;
  Tensor<double, 2> values;
};

Rounded rounded(const quant::ElasticWeight& weight, ElasticConfig config,
                const std::array<Index, 2>& shape) {
  Rounded out{Tensor<std::int32_t, 2>(shape), Tensor<double, 2>(shape)};
  weight.quantize(config, out.codes, out.values);
  return out;
}

}  // namespace

TEST_CASE("eqnet: all configurations agree with their definition", "[quant][quant/eqnet]") {
  auto w = even_values<float, 2>({3, 17}, 1);
  for (Index k = 0; k < 17; ++k) w(1, k) += 2;  // no 0 inside
  const quant::ElasticWeight weight(w);
  for (int bits = 2; bits <= 8; ++bits)
    for (const bool symmetric : {false, true})
      for (const bool channel : {false, true}) {
        const ElasticConfig config{bits, symmetric, channel};
        const auto got = rounded(weight, config, w.shape());
        const double lo = -std::pow(2, bits - 1), hi = -lo - 1;
        REQUIRE(weight.grids(config).size() == (channel ? 3u : 1u));
        for (Index r = 0; r < 3; ++r) {
          const auto& grid = weight.grids(config)[static_cast<std::size_t>(channel ? r : 0)];
          const auto wanted =
              reference::elastic(channel ? doubles_of(w.view().select(0, r)) : doubles_of(w.view()),
                                 bits, symmetric, channel);
          CHECK(grid.scale == Approx(wanted.scale).epsilon(1e-12));
          CHECK(grid.beta == Approx(wanted.beta).epsilon(1e-12).margin(1e-14));
          for (Index k = 0; k < 17; ++k) {
            const double value =
                reference::elastic_value(static_cast<double>(w(r, k)), wanted, lo, hi, 1e-6);
            CHECK(got.values(r, k) == Approx(value).epsilon(1e-11).margin(1e-13));
            CHECK(got.codes(r, k) >= lo);
            CHECK(got.codes(r, k) <= hi);
          }
        }
      }
}

TEST_CASE("eqnet: one row per channel is a layer, and bits help", "[quant]") {
  const auto w = even_values<float, 2>({1, 64}, 2);
  const quant::ElasticWeight weight(w);
  double before = std::numeric_limits<double>::infinity();
  for (int bits = 2; bits <= 8; ++bits) {
    const auto layer = weight.grids({bits, false, false}), row = weight.grids({bits, false, true});
    CHECK(layer[0].scale == row[0].scale);
    CHECK(layer[0].beta == row[0].beta);
    const auto got = rounded(weight, {bits, true, false}, w.shape());
    double error = 0;
    for (Index k = 0; k < 64; ++k)
      error += std::abs(got.values(0, k) - static_cast<double>(w(0, k)));
    CHECK(error < before);
    before = error;
  }
}

TEST_CASE("eqnet: huge channels and constant weights keep the unit grid", "[quant]") {
  auto w = even_values<float, 2>({2, 8}, 3);
  for (Index k = 0; k < 8; ++k) w(1, k) = w(1, k) * 1e6f;
  const quant::ElasticWeight weight(w);
  CHECK(weight.grids({2, true, true})[0].scale < 1);
  CHECK(weight.grids({2, true, true})[1].scale == 1);
  CHECK(weight.grids({2, false, false})[0].scale == 1);
  const quant::ElasticWeight zeros(Tensor<float, 2>({2, 3}).view());
  CHECK(zeros.grids({8, true, false})[0].scale == 1);
  CHECK(rounded(zeros, {8, true, false}, {2, 3}).values(1, 2) == 0);
}

TEST_CASE("eqnet: activations without negative values use all codes", "[quant]") {
  const auto positive = even_values<float, 2>({6, 9}, 4, 0, 3),
             mixed = even_values<float, 2>({6, 9}, 4, -2, 3);
  for (const bool symmetric : {false, true}) {
    const quant::ElasticActivation a(positive, 4, symmetric), b(mixed, 4, symmetric);
    CHECK(a.codes.lo == 0);
    CHECK(a.codes.hi == 15);
    CHECK(b.codes.lo == -8);
    CHECK(a.grid.beta == (symmetric ? 0 : -1e-9));
    CHECK((b.grid.beta == 0) == symmetric);
    CHECK(a.round(1.5).value == Approx(1.5).margin(0.51 * a.grid.scale));
    CHECK(a.round(-1).code == 0);
    CHECK(a.round(1e9).code == 15);
    CHECK(a.grid.scale < 3. / 15 + 1e-9);
    CHECK(b.grid.scale > 3. / 15);
  }
}

TEST_CASE("eqnet: moments of weights and what training adds", "[quant]") {
  Tensor<float, 2> w({1, 4});
  w(0, 0) = -1, w(0, 1) = 0, w(0, 2) = 0, w(0, 3) = 5;
  // mean 1, deviations -2, -1, -1, 4; variance 22 / 3
  const quant::WeightMoments m(w);
  const double sigma = std::sqrt(22. / 3);
  CHECK(m.skewness == Approx((-8 - 1 - 1 + 64) / 4. / std::pow(sigma, 3)));
  CHECK(m.kurtosis == Approx((16 + 1 + 1 + 256) / 4. / std::pow(sigma, 4)));
  const auto even = even_values<float, 2>({100, 100}, 5);
  const quant::WeightMoments uniform(even);
  CHECK(uniform.kurtosis == Approx(1.8).margin(0.03));
  CHECK(uniform.skewness == Approx(0).margin(0.03));
  const std::array layers{m, uniform, m};
  const quant::DistributionLoss loss(layers);
  CHECK(loss.skewness ==
        Approx((uniform.skewness * uniform.skewness + m.skewness * m.skewness) / 2));
  CHECK(loss.kurtosis ==
        Approx((std::pow(uniform.kurtosis - 1.8, 2) + std::pow(m.kurtosis - 1.8, 2)) / 2));
}

TEST_CASE("eqnet: what it cannot do is named", "[quant]") {
  const auto w = even_values<float, 2>({2, 3}, 6);
  const quant::ElasticWeight weight(w);
  CHECK(contains(message_of([&] { weight.grids({9, true, false}); }), "9 bits"));
  CHECK(contains(message_of([&] { rounded(weight, {4, true, false}, {3, 2}); }), "[3, 2]"));
  CHECK(contains(message_of([] {
                   quant::ElasticWeight(Tensor<float, 2>({0, 3}).view());
                 }),
                 "[0, 3]"));
  auto bad = w.clone();
  bad(1, 1) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { quant::ElasticWeight(bad.view()); }), "weight(1, 1)"));
  CHECK(contains(message_of([&] { quant::ElasticActivation(bad, 4, true); }), "batch(1, 1)"));
  CHECK(contains(message_of([&] { quant::ElasticActivation(w, 1, true); }), "1 bits"));
  CHECK(contains(message_of([] {
                   quant::WeightMoments(Tensor<float, 2>({2, 2}));
                 }),
                 "all weights are 0"));
  CHECK(contains(message_of([] { quant::WeightMoments(Tensor<float, 2>({1, 1})); }), "[1, 1]"));
  const std::array one{quant::WeightMoments(w)};
  CHECK(contains(message_of([&] { quant::DistributionLoss{one}; }), "at least 2"));
}
