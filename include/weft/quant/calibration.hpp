#pragma once

#include <weft/quant/affine.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

/// Calibrators: from numbers that a tensor has had, the range that its grid should cover
/// (symmetric_grid and affine_grid of affine.hpp take it).
///
///   absmax, min_max            all of them
///   percentile                 of sorted x at position (n - 1) p / 100, linear in between
///   MovingRange                of batches: m <- 0.9 m + 0.1 batch, starting with the first
///   mse_clip                   the clip c = absmax i / 100, i = 1 ... 100, of least squared error
///                              of the symmetric grid to c
///   gptq_shrink_search         of ranges shrunk by 1 - i / 100, i = 0 ... 79, the one of least
///                              sum |x - q|^2.4, as GPTQ has it (arXiv:2210.17323)
///   entropy_threshold          the clip whose 128 levels lose the least information (Kullback-
///                              Leibler divergence of histograms, as TensorRT has it)
///
/// Sums are in double. Of equal errors the first candidate wins. Where all x are 0 ranges are 0,
/// of which grids make a scale of 1. Numbers that are not finite are refused: one of them would
/// decide the range. Time O(n) for each candidate; percentile O(n); entropy O(n + bins^2).
namespace weft::quant {

struct Range {
  double low = 0, high = 0;
};

/// Throws, naming the caller, on numbers that are not finite.
template <class T>
void require_finite_data(std::span<const T> x, const char* who) {
  for (std::size_t i = 0; i < x.size(); ++i)
    require(std::isfinite(x[i]), who, ": x[", i, "] is ", x[i], "; no range holds it");
}

/// 0 for no numbers.
inline double absmax(std::span<const float> x) {
  require_finite_data(x, "absmax");
  float most = 0;
  for (const float v : x) most = std::max(most, std::abs(v));
  return most;
}

/// Throws for no numbers.
inline Range min_max(std::span<const float> x) {
  require(!x.empty(), "min_max: no numbers");
  require_finite_data(x, "min_max");
  const auto [low, high] = std::ranges::minmax_element(x);
  return {*low, *high};
}

/// The p-th percentile, 0 <= p <= 100. Throws for no numbers and other p.
inline double percentile(std::span<const float> x, double p) {
  require(!x.empty(), "percentile: no numbers");
  require(p >= 0 && p <= 100, "percentile ", p, "; wanted 0 to 100");
  require_finite_data(x, "percentile");
  std::vector<float> sorted(x.begin(), x.end());
  const double position = static_cast<double>(x.size() - 1) * p / 100;
  const double fraction = position - std::floor(position);
  const auto at = sorted.begin() + static_cast<std::ptrdiff_t>(position);
  std::nth_element(sorted.begin(), at, sorted.end());
  const double low = *at;
  const double high =
      at + 1 == sorted.end() ? low : double{*std::min_element(at + 1, sorted.end())};
  return (1 - fraction) * low + fraction * high;
}

/// The p-th percentile of |x|: a clip for a symmetric grid.
inline double percentile_absmax(std::span<const float> x, double p) {
  std::vector<float> sizes(x.size());
  std::ranges::transform(x, sizes.begin(), [](float v) { return std::abs(v); });
  return percentile(sizes, p);
}

/// From the (100 - p)-th to the p-th percentile, 50 <= p <= 100.
inline Range percentile_range(std::span<const float> x, double p) {
  require(p >= 50, "percentile_range: ", p, "; wanted 50 to 100");
  return {percentile(x, 100 - p), percentile(x, p)};
}

/// The running average of the ranges of batches, or of their percentile_ranges.
class MovingRange {
 public:
  /// Throws unless 0 <= momentum < 1 and 50 <= percentile <= 100.
  explicit MovingRange(double momentum = 0.9, double percentile = 100)
      : momentum_(momentum), percentile_(percentile) {
    require(momentum >= 0 && momentum < 1, "MovingRange: momentum ", momentum,
            "; wanted at least 0 and less than 1");
    require(percentile >= 50 && percentile <= 100, "MovingRange: percentile ", percentile,
            "; wanted 50 to 100");
  }

  /// Throws as min_max does.
  void observe(std::span<const float> batch) {
    const Range next = percentile_ == 100 ? min_max(batch) : percentile_range(batch, percentile_);
    const double keep = empty_ ? 0 : momentum_;
    range_ = {keep * range_.low + (1 - keep) * next.low,
              keep * range_.high + (1 - keep) * next.high};
    empty_ = false;
  }

  /// Throws before the first batch.
  Range range() const {
    require(!empty_, "MovingRange: no batch has been observed");
    return range_;
  }

 private:
  double momentum_, percentile_;
  Range range_;
  bool empty_ = true;
};

/// A clip that was chosen among candidates.
struct ClipChoice {
  double clip = 0;
  double error = 0;  ///< what it was chosen for
  int index = 0;     ///< which candidate
};

/// Squared errors of the symmetric grids of `bits` to absmax i / 100, for i = 1 ... 100.
inline std::array<double, 100> mse_clip_errors(std::span<const float> x, int bits) {
  const double most = absmax(x);
  std::array<double, 100> errors{};
  for (int i = 1; i <= 100; ++i) {
    const AffineGrid<double> grid = symmetric_grid(most * i / 100, signed_codes(bits));
    double& error = errors[static_cast<std::size_t>(i - 1)];
    for (const double v : x) error += (v - grid.round_trip(v)) * (v - grid.round_trip(v));
  }
  return errors;
}

/// The candidate of least error, with index i = 1 ... 100.
inline ClipChoice mse_clip(std::span<const float> x, int bits) {
  const auto errors = mse_clip_errors(x, bits);
  const auto least = std::ranges::min_element(errors);
  const auto index = static_cast<int>(least - errors.begin()) + 1;
  return {absmax(x) * index / 100, *least, index};
}

// --- The search of GPTQ

/// A grid that was chosen among candidates.
struct GridChoice {
  AffineGrid<double> grid;
  double error = 0;
  int index = 0;
};

/// GPTQ's grid of 2^bits codes over a range: scale = (high - low) / (2^bits - 1); zero is the
/// middle code when symmetric, else rint(-low / scale).
inline AffineGrid<double> gptq_grid(Range range, int bits, bool symmetric) {
  const CodeRange codes = unsigned_codes(bits);
  const double scale = (range.high - range.low) / codes.high;
  const double zero = symmetric ? (codes.high + 1) / 2 : round_half_even(-range.low / scale);
  return {scale, static_cast<int>(zero), codes};
}

namespace detail {

// These two take what they are given, NaN included, and so can be called by many threads.

template <std::floating_point T>
Range gptq_range(std::span<const T> x, bool symmetric) noexcept {
  Range range;
  for (const double v : x) range = {std::min(range.low, v), std::max(range.high, v)};
  if (symmetric) {
    range.high = std::max(-range.low, range.high);
    if (range.low < 0) range.low = -range.high;
  }
  return range.low == 0 && range.high == 0 ? Range{-1, 1} : range;
}

template <std::floating_point T>
GridChoice gptq_shrink_search(std::span<const T> x, int bits, bool symmetric) noexcept {
  const Range full = detail::gptq_range(x, symmetric);
  GridChoice best{gptq_grid(full, bits, symmetric), std::numeric_limits<double>::infinity(), 0};
  for (int i = 0; i < 80; ++i) {
    const double p = 1 - i / 100.;
    const auto grid = gptq_grid({p * full.low, p * full.high}, bits, symmetric);
    double error = 0;
    // What is not better already will not be.
    for (std::size_t k = 0; k < x.size() && error < best.error; ++k)
      error += std::pow(std::abs(grid.round_trip(x[k]) - double{x[k]}), 2.4);
    if (error < best.error) best = {grid, error, i};
  }
  return best;
}

}  // namespace detail

/// The range that GPTQ starts from: widened to hold 0; symmetric unless nothing is negative, and
/// -1 to 1 where all x are 0.
template <std::floating_point T>
Range gptq_range(std::span<const T> x, bool symmetric) {
  require_finite_data(x, "gptq_range");
  return detail::gptq_range(x, symmetric);
}

/// Of the ranges shrunk to 1 - i / 100 of gptq_range, the grid of least sum |x - q|^2.4.
template <std::floating_point T>
GridChoice gptq_shrink_search(std::span<const T> x, int bits, bool symmetric) {
  require_finite_data(x, "gptq_shrink_search");
  return detail::gptq_shrink_search(x, bits, symmetric);
}

// --- Entropy

/// Counts of |x| in `bins` bins of equal width from 0 to absmax.
inline std::vector<double> magnitude_histogram(std::span<const float> x, Index bins) {
  require(bins >= 1, "magnitude_histogram: ", bins, " bins");
  const double width = absmax(x) / static_cast<double>(bins);
  std::vector<double> counts(static_cast<std::size_t>(bins));
  for (const float v : x) {
    const double at = width == 0 ? 0 : std::floor(std::abs(double{v}) / width);
    counts[std::min(static_cast<std::size_t>(at), counts.size() - 1)] += 1;
  }
  return counts;
}

namespace detail {

/// The first i bins at the resolution of `levels` segments: the bins of a segment that are not
/// empty share its counts evenly.
inline void coarsen(std::span<const double> counts, std::size_t levels, std::vector<double>& to) {
  const std::size_t n = counts.size();
  to.assign(n, 0);
  for (std::size_t j = 0; j < levels; ++j) {
    const std::size_t begin = j * n / levels, end = (j + 1) * n / levels;
    double sum = 0, used = 0;
    for (std::size_t k = begin; k < end; ++k) {
      sum += counts[k];
      used += counts[k] > 0;
    }
    for (std::size_t k = begin; k < end; ++k)
      if (counts[k] > 0) to[k] = sum / used;
  }
}

/// sum p ln(p / q) of two histograms, with `tail` more counts in the last bin of p. Infinite where
/// q is empty.
inline double divergence(std::span<const double> p, double tail, const std::vector<double>& q) {
  double p_sum = tail, q_sum = 0;
  for (std::size_t k = 0; k < p.size(); ++k) {
    p_sum += p[k];
    q_sum += q[k];
  }
  if (q_sum == 0) return std::numeric_limits<double>::infinity();
  double sum = 0;
  for (std::size_t k = 0; k < p.size(); ++k) {
    const double a = (p[k] + (k + 1 == p.size() ? tail : 0)) / p_sum, b = q[k] / q_sum;
    if (a > 0) sum += a * std::log(a / (b == 0 ? 1e-12 : b));
  }
  return sum;
}

}  // namespace detail

/// For i = levels ... bins, P is the histogram of |x| clipped to its first i bins and Q that of
/// what was not clipped at `levels` levels; the clip is i bins wide for the least divergence of P
/// from Q, and index is that i. Throws unless 1 <= levels <= bins.
inline ClipChoice entropy_threshold(std::span<const float> x, Index bins = 2048,
                                    Index levels = 128) {
  require(levels >= 1 && levels <= bins, "entropy_threshold: ", levels, " levels of ", bins,
          " bins; wanted from 1 to as many levels as bins");
  const auto counts = magnitude_histogram(x, bins);
  const std::span<const double> all(counts);
  const double width = absmax(x) / static_cast<double>(bins);
  ClipChoice best{absmax(x), std::numeric_limits<double>::infinity(), static_cast<int>(bins)};
  std::vector<double> coarse;
  for (Index i = levels; i <= bins; ++i) {
    const auto kept = all.first(static_cast<std::size_t>(i));
    double tail = 0;
    for (const double count : all.subspan(kept.size())) tail += count;
    detail::coarsen(kept, static_cast<std::size_t>(levels), coarse);
    const double error = detail::divergence(kept, tail, coarse);
    if (error < best.error) best = {static_cast<double>(i) * width, error, static_cast<int>(i)};
  }
  return best;
}

}  // namespace weft::quant
