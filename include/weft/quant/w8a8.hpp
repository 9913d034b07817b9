#pragma once

#include <weft/quant/calibration.hpp>
#include <weft/quant/doubles.hpp>
#include <weft/quant/int8_operator.hpp>
#include <weft/quant/percentile_grid.hpp>

/// The W8A8 recipe of Quantizable Transformers: Removing Outliers by Helping Attention Heads Do
/// Nothing (arXiv 2306.12929), whose clipped softmax and gates leave activations that it suits.
///
///   activations   one affine grid per tensor, fixed after calibration:
///                 lo = min(range.low, 0),  hi = max(range.high, 1e-8),
///                 scale = max((hi - lo) / (2^b - 1), 1e-8),  zero = clamp(rint(-lo / scale), ..)
///   their range   first batch: its extremes; then range <- 0.9 range + 0.1 extremes of the batch.
///                 With a percentile p the extremes are those at 100 - p and p percent.
///   weights       one symmetric grid per tensor, scale = max |w| / (2^(b-1) - 1), all codes from
///                 -2^(b-1) on; unsigned codes where no weight is negative
///   their range   max |w|; or, of clip_i = (max |w| + 0.5) i / 100, i = 1 .. 100, the one of the
///                 least squared error, the first on ties
///
/// BERT takes 16 batches without percentile; OPT 4 batches, 99.999 %, and the search for weights.
/// Every weight and the output of every operation has a grid of its own, but for the last layer of
/// a language model. Masks of -1e30 come after the quantizer of the scores, or they are their
/// range.
///
/// What a model loses is seen by simulation, floating-point operations on rounded numbers
/// (`round_trip` and any product); `w8a8_operator` runs the same sums on integers.
///
/// Calibration is offline, in double. Throws where data is not finite or there is none.
namespace weft::quant {

/// The smallest scale and the least upper end of a range.
inline constexpr double kLeastScale = 1e-8;

/// The grid of activations of this range, which MovingRange(0.9, p) of calibration.hpp takes from
/// batches.
inline AffineGrid<double> activation_grid(Range range, int bits = 8) {
  const CodeRange codes = unsigned_codes(bits);
  require(std::isfinite(range.low) && std::isfinite(range.high), "activation_grid: a range from ",
          range.low, " to ", range.high);
  const double lo = std::min(range.low, 0.), hi = std::max(range.high, kLeastScale);
  const double scale = std::max((hi - lo) / codes.high, kLeastScale);
  const double zero = std::clamp<double>(round_half_even(-lo / scale), 0, codes.high);
  return {scale, static_cast<int>(zero), codes};
}

namespace detail {

/// The grid of weights from `low` on whose magnitude is clipped at `clip`.
inline AffineGrid<double> clipped_weight_grid(double low, double clip, int bits) {
  const CodeRange codes = low < 0 ? full_signed_codes(bits) : unsigned_codes(bits);
  auto grid = symmetric_grid(clip, codes);
  grid.scale = std::max(grid.scale, kLeastScale);
  return grid;
}

}  // namespace detail

/// The grid of all weights [N, K] by their largest magnitude.
template <class T>
AffineGrid<double> weight_grid(View<const T, 2> weight, int bits = 8) {
  const auto copy = finite_doubles("weight", weight);
  const std::span<const double> w = copy.span();
  require(!w.empty(), "weight_grid: the weight is ", weight);
  const auto [low, high] = std::minmax_element(w.begin(), w.end());
  return detail::clipped_weight_grid(*low, std::max(-*low, *high), bits);
}

/// The grid of all weights by the search over clips.
template <class T>
AffineGrid<double> searched_weight_grid(View<const T, 2> weight, int bits = 8,
                                        double margin = 0.5) {
  const auto copy = finite_doubles("weight", weight);
  const std::span<const double> w = copy.span();
  require(!w.empty(), "searched_weight_grid: the weight is ", weight);
  require(margin >= 0 && std::isfinite(margin), "searched_weight_grid: a margin of ", margin);
  const auto [low, high] = std::minmax_element(w.begin(), w.end());
  const double end = std::max(std::abs(*low), *high) + margin;
  AffineGrid<double> best;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 1; i <= 100; ++i) {
    const auto grid = detail::clipped_weight_grid(*low, end * i / 100, bits);
    const double error = detail::squared_error(grid, w);
    if (error >= least) continue;
    least = error;
    best = grid;
  }
  return best;
}

/// x to the numbers of the grid, in place: simulated quantization.
template <class T>
void round_trip(const AffineGrid<double>& grid, View<T, 2> x) {
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c)
      x(r, c) = static_cast<T>(grid.round_trip(static_cast<double>(x(r, c))));
}

/// y = x W^T + bias on 8-bit integers, for activations on `input` and weights on `weight_grid` (of
/// at most 8 bits, signed).
template <class A = DefaultArch>
Int8Operator<A> w8a8_operator(View<const float, 2> weight, View<const float, 1> bias,
                              const AffineGrid<double>& weight_grid,
                              const AffineGrid<double>& input) {
  require(detail::holds<std::int8_t>(weight_grid.codes) && weight_grid.zero == 0,
          "w8a8_operator: weights of codes ", weight_grid.codes.low, " to ", weight_grid.codes.high,
          " and zero ", weight_grid.zero, ", wanted signed bytes and zero 0");
  const Index rows = weight.extent(0), cols = weight.extent(1);
  QuantizedMatrix<std::int8_t> codes{.codes = Tensor<std::int8_t, 2>({rows, cols}),
                                     .scale = Tensor<float, 2>({1, 1}),
                                     .zero = {},
                                     .block = {std::max<Index>(rows, 1), std::max<Index>(cols, 1)},
                                     .range = weight_grid.codes};
  codes.scale(0, 0) = static_cast<float>(weight_grid.scale);
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < cols; ++c)
      codes.codes(r, c) =
          static_cast<std::int8_t>(weight_grid.encode(static_cast<double>(weight(r, c))));
  Int8Operator<A> out(codes, bias);
  out.fix_activations({static_cast<float>(input.scale), input.zero, input.codes});
  return out;
}

/// How far activations are from what a grid suits: the metrics of the paper for one tensor.
struct OutlierMetrics {
  double infinity_norm = 0;
  double kurtosis = 0;  ///< E[(x - mean)^4] / variance^2; 3 for normal numbers, 0 for equal ones
};

template <class T>
OutlierMetrics outlier_metrics(View<const T, 2> x) {
  const auto copy = finite_doubles("x", x);
  const std::span<const double> values = copy.span();
  if (values.empty()) return {};
  const double count = static_cast<double>(values.size());
  OutlierMetrics out;
  double mean = 0, second = 0, fourth = 0;
  for (const double v : values) {
    mean += v / count;
    out.infinity_norm = std::max(out.infinity_norm, std::abs(v));
  }
  for (const double v : values) {
    const double square = (v - mean) * (v - mean);
    second += square / count;
    fourth += square * square / count;
  }
  out.kurtosis = second == 0 ? 0 : fourth / (second * second);
  return out;
}

}  // namespace weft::quant
