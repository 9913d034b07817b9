#pragma once

#include <weft/core/tensor.hpp>
#include <weft/quant/doubles.hpp>
#include <weft/quant/rounding.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

/// Elastic quantization: one set of weights that serves every configuration of bits, symmetry and
/// granularity, each with scales and offsets of its own (EQ-Net: Elastic Quantization Neural
/// Networks, arXiv 2308.07650).
///
///   s' = s + 1e-6,   q = rint(clamp((x - beta) / s', lo, hi)),   x ~ q s' + beta
///
/// with codes lo = -2^(b-1), hi = 2^(b-1) - 1, or lo = 0, hi = 2^b - 1 for activations without
/// negative values. beta is a real number, 0 in symmetric configurations. (The published code runs
/// with the magnitude of beta; pass that to `elastic_round` to do the same.)
///
/// s and beta start from a search for the least mean |x - q s - beta|^2.4, the first of equals,
/// with p = 1 - i / 100:
///
///   symmetric    s = 2 p max |x| / (2^b - 1), beta = 0
///   x >= 0       s = p max x / (2^b - 1), beta = 0
///   asymmetric   lo' = p min x, hi' = p max x, s = (hi' - lo') / (2^b - 1), beta = lo' - s lo
///                (for activations >= 0 beta then becomes -1e-9, as in the published code)
///
/// for i < 80, but i < 5 for symmetric ones per channel. A channel whose error is never below 100
/// keeps s = 1, beta = 0; so does a layer above 1e5.
namespace weft::quant {

inline constexpr int kElasticLeastBits = 2, kElasticMostBits = 8;

struct ElasticConfig {
  int bits = 8;  ///< 2 to 8
  bool symmetric = true;
  bool per_channel = false;  ///< a scale per row instead of one
};

/// Codes of elastic grids: of weights and signed activations, or of activations >= 0.
struct ElasticCodes {
  int lo, hi;

  static constexpr ElasticCodes of(int bits, bool non_negative) noexcept {
    return non_negative ? ElasticCodes{0, (1 << bits) - 1}
                        : ElasticCodes{-(1 << (bits - 1)), (1 << (bits - 1)) - 1};
  }
};

struct ElasticGrid {
  double scale = 1, beta = 0;
};

struct ElasticNumber {
  int code;
  double value;
};

/// One number. The scale is the learned one: 1e-6 is added here.
inline ElasticNumber elastic_round(double x, ElasticGrid grid, ElasticCodes codes) noexcept {
  const double s = grid.scale + 1e-6;
  const double q = round_half_even(std::clamp((x - grid.beta) / s, static_cast<double>(codes.lo),
                                              static_cast<double>(codes.hi)));
  return {static_cast<int>(q), q * s + grid.beta};
}

namespace detail {

/// mean |x - (q s + beta)|^2.4, s as it is; or anything above `bound` where the mean is.
inline double elastic_error(View<const double, 2> x, ElasticGrid grid, ElasticCodes codes,
                            double bound) noexcept {
  const double lo = codes.lo, hi = codes.hi, count = static_cast<double>(x.size());
  const double enough = 1.001 * bound * count;  // so that rounding decides nothing here
  double sum = 0;
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1) && sum <= enough; ++c) {
      const double q = round_half_even(std::clamp((x(r, c) - grid.beta) / grid.scale, lo, hi));
      sum += std::pow(std::abs(x(r, c) - (q * grid.scale + grid.beta)), 2.4);
    }
  return sum / count;
}

/// What a search goes through.
struct ElasticSearch {
  int bits;
  bool symmetric;
  bool non_negative = false;
  int candidates = 80;
  double bound = 1e5;  ///< errors from here on do not count
};

/// The candidate of a share p of the range lo to hi.
inline ElasticGrid elastic_candidate(double lo, double hi, double p, const ElasticSearch& search) {
  const double steps = (1 << search.bits) - 1;
  if (search.symmetric) {
    const double most = p * std::max(std::abs(lo), std::abs(hi));
    return {(search.non_negative ? most : 2 * most) / steps, 0};
  }
  const double scale = (p * hi - p * lo) / steps;
  return {scale, p * lo - scale * ElasticCodes::of(search.bits, search.non_negative).lo};
}

/// The first of the best grids; {1, 0} if none is good enough.
inline ElasticGrid search_elastic_grid(View<const double, 2> x, ElasticSearch search) {
  double lo = std::numeric_limits<double>::infinity(), hi = -lo;
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c) {
      lo = std::min(lo, x(r, c));
      hi = std::max(hi, x(r, c));
    }
  const auto codes = ElasticCodes::of(search.bits, search.non_negative);
  ElasticGrid best;
  for (int i = 0; i < search.candidates; ++i) {
    const ElasticGrid grid = elastic_candidate(lo, hi, 1 - 0.01 * i, search);
    if (!(grid.scale > 0)) continue;  // nothing to choose from: all x are equal
    const double error = elastic_error(x, grid, codes, search.bound);
    if (!(error < search.bound)) continue;
    search.bound = error;
    best = grid;
  }
  if (search.non_negative && !search.symmetric) best.beta = -1e-9;
  return best;
}

inline void check_elastic(const char* what, int bits) {
  require(bits >= kElasticLeastBits && bits <= kElasticMostBits, what, ": ", bits, " bits; wanted ",
          kElasticLeastBits, " to ", kElasticMostBits);
}

}  // namespace detail

/// Grids of a weight [R, K] for all configurations.
class ElasticWeight {
 public:
  /// Searches all of them. Throws on an empty weight and on numbers that are not finite.
  explicit ElasticWeight(View<const float, 2> weight) : weight_(finite_doubles("weight", weight)) {
    require(!weight.empty(), "ElasticWeight: the weight is ", weight);
    for (int bits = kElasticLeastBits; bits <= kElasticMostBits; ++bits)
      for (const bool symmetric : {false, true}) {
        search({bits, symmetric, false});
        search({bits, symmetric, true});
      }
  }

  /// [1] or, per channel, [R]; to be trained further if wanted.
  std::span<ElasticGrid> grids(ElasticConfig config) { return tables_.at(number(config)); }
  std::span<const ElasticGrid> grids(ElasticConfig config) const {
    return tables_.at(number(config));
  }

  /// The weight as a configuration has it. Throws unless codes and values are [R, K] and bits 2
  /// to 8.
  void quantize(ElasticConfig config, View<std::int32_t, 2> codes, View<double, 2> values) const {
    require(codes.shape() == weight_.shape() && values.shape() == weight_.shape(),
            "ElasticWeight: codes are ", codes, " and values ", values, ", the weight is ",
            weight_.view());
    const auto grids_of = grids(config);
    const auto range = ElasticCodes::of(config.bits, false);
    for (Index r = 0; r < weight_.extent(0); ++r)
      for (Index c = 0; c < weight_.extent(1); ++c) {
        const auto row = static_cast<std::size_t>(config.per_channel ? r : 0);
        const ElasticNumber number = elastic_round(weight_(r, c), grids_of[row], range);
        codes(r, c) = number.code;
        values(r, c) = number.value;
      }
  }

 private:
  static std::size_t number(ElasticConfig config) {
    detail::check_elastic("ElasticWeight", config.bits);
    return static_cast<std::size_t>(4 * (config.bits - kElasticLeastBits) +
                                    2 * (config.symmetric ? 1 : 0) + (config.per_channel ? 1 : 0));
  }

  void search(ElasticConfig config) {
    auto& table = tables_[number(config)];
    detail::ElasticSearch search{.bits = config.bits, .symmetric = config.symmetric};
    if (!config.per_channel) {
      table = {detail::search_elastic_grid(weight_, search)};
      return;
    }
    search.bound = 100;
    if (config.symmetric) search.candidates = 5;
    for (Index r = 0; r < weight_.extent(0); ++r)
      table.push_back(detail::search_elastic_grid(weight_.view().slice(0, r, 1), search));
  }

  static constexpr std::size_t kConfigs = 4 * (kElasticMostBits - kElasticLeastBits + 1);

  Tensor<double, 2> weight_;
  std::array<std::vector<ElasticGrid>, kConfigs> tables_;
};

/// The grid of activations, one per layer, from a first batch of them [T, K]; its smallest value
/// decides on the codes for good. Throws on an empty batch and on numbers that are not finite.
struct ElasticActivation {
  ElasticGrid grid;
  ElasticCodes codes;

  ElasticActivation(View<const float, 2> batch, int bits, bool symmetric) {
    detail::check_elastic("ElasticActivation", bits);
    require(!batch.empty(), "ElasticActivation: the batch is ", batch);
    const Tensor<double, 2> x = finite_doubles("batch", batch);
    const double least = *std::min_element(x.span().begin(), x.span().end());
    const bool non_negative = least >= -1e-9;
    codes = ElasticCodes::of(bits, non_negative);
    grid = detail::search_elastic_grid(x, {bits, symmetric, non_negative});
  }

  ElasticNumber round(double x) const noexcept { return elastic_round(x, grid, codes); }
};

/// mean z^3 and mean z^4 of a weight, z = (w - mean) / standard deviation (unbiased). An even
/// distribution has 0 and 1.8. Throws for fewer than two weights and where all are equal.
struct WeightMoments {
  double skewness = 0, kurtosis = 0;

  explicit WeightMoments(View<const float, 2> weight) {
    require(weight.size() >= 2, "WeightMoments: the weight is ", weight);
    const Tensor<double, 2> w = finite_doubles("weight", weight);
    const double n = static_cast<double>(w.size());
    double mean = 0, squares = 0;
    for (const double v : w.span()) mean += v / n;
    for (const double v : w.span()) squares += (v - mean) * (v - mean);
    require(squares > 0, "WeightMoments: all weights are ", mean);
    const double deviation = std::sqrt(squares / (n - 1));
    for (const double v : w.span()) {
      const double z = (v - mean) / deviation;
      skewness += z * z * z / n;
      kurtosis += z * z * z * z / n;
    }
  }
};

/// What training adds to the loss, so that all configurations suit the weights: the mean over
/// layers, but for the first, of skewness^2 and of (kurtosis - 1.8)^2; each takes a rate of its
/// own. Throws without a second layer.
struct DistributionLoss {
  double skewness = 0, kurtosis = 0;

  explicit DistributionLoss(std::span<const WeightMoments> layers) {
    require(layers.size() >= 2, "DistributionLoss: ", layers.size(),
            " layers; the first does not count, so wanted at least 2");
    const double count = static_cast<double>(layers.size() - 1);
    for (const WeightMoments& m : layers.subspan(1)) {
      skewness += m.skewness * m.skewness / count;
      kurtosis += (m.kurtosis - 1.8) * (m.kurtosis - 1.8) / count;
    }
  }
};

}  // namespace weft::quant
