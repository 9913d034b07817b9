#pragma once

#include <weft/core/tensor.hpp>
#include <weft/quant/affine.hpp>
#include <weft/quant/doubles.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

/// Grids whose ends are percentiles of the data: what RepQ-ViT and RepQuant calibrate with
/// (arXiv 2212.08254, arXiv 2402.05628).
///
///   for p in (0.999, 0.9999, 0.99999):  lo = quantile(x, 1 - p),  hi = quantile(x, p)
///     s = (hi - lo) / (2^b - 1),  z = rint(-lo / s),  x ~ s (clamp(rint(x / s) + z, 0, 2^b - 1) -
///     z)
///
/// and of the three the one with the least squared error, the first on ties. The range is not
/// widened to hold 0 and z is any whole number, so this is no AffineGrid. Quantiles interpolate
/// linearly.
///
/// Equal numbers get a grid that holds them exactly. Numbers that are not finite are refused, and
/// so is an empty x. Time O(n log n), everything in double.
namespace weft::quant {

/// The numbers scale (code - zero), where zero, and with it the codes, may be any real number:
/// codes are whole numbers plus the fraction of zero.
struct RealZeroGrid {
  double scale = 1, zero = 0;
  CodeRange codes = unsigned_codes(8);

  double encode(double x) const noexcept {
    return std::clamp<double>(round_half_even(x / scale) + zero, codes.low, codes.high);
  }
  double decode(double code) const noexcept { return (code - zero) * scale; }
  double round_trip(double x) const noexcept { return decode(encode(x)); }
};

/// The percentiles that are tried.
inline constexpr std::array<double, 3> kPercentiles = {0.999, 0.9999, 0.99999};

/// The p-quantile of ascending numbers, p in [0, 1].
inline double quantile(std::span<const double> sorted, double p) {
  require(!sorted.empty() && p >= 0 && p <= 1, "quantile ", p, " of ", sorted.size(),
          " numbers; wanted p in [0, 1] and one number at least");
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = at - static_cast<double>(below);
  return (1 - part) * sorted[below] + part * sorted[above];
}

namespace detail {

template <class Grid>
double squared_error(const Grid& grid, std::span<const double> x) noexcept {
  double sum = 0;
  for (const double v : x) {
    const double d = v - grid.round_trip(v);
    sum += d * d;
  }
  return sum;
}

/// lo and hi become the first and the last code, where they differ.
inline RealZeroGrid grid_between(double lo, double hi, CodeRange codes) {
  const double scale = (hi - lo) / (codes.high - codes.low);
  return {scale, codes.low + round_half_even(-lo / scale), codes};
}

/// Holds v exactly, as the second code or, where v is negative, the first.
inline RealZeroGrid grid_of_one(double v, CodeRange codes) {
  return {v == 0 ? 1 : std::abs(v), static_cast<double>(codes.low + (v < 0 ? 1 : 0)), codes};
}

/// Whether numbers lo to hi are so close that their step is 0 or lost beside them.
inline bool is_constant(double lo, double hi, CodeRange codes) noexcept {
  const double scale = (hi - lo) / (codes.high - codes.low);
  return !(scale > 0x1p-52 * std::max(std::abs(lo), std::abs(hi)));
}

inline RealZeroGrid percentile_grid(std::span<const double> x, CodeRange codes) {
  require(!x.empty(), "percentile_grid: there are no numbers");
  std::vector<double> sorted(x.begin(), x.end());
  std::sort(sorted.begin(), sorted.end());
  if (is_constant(sorted.front(), sorted.back(), codes)) return grid_of_one(x.front(), codes);
  // Where all percentiles agree the ends are taken instead.
  RealZeroGrid best = grid_between(sorted.front(), sorted.back(), codes);
  double least = std::numeric_limits<double>::infinity();
  for (const double p : kPercentiles) {
    const double lo = quantile(sorted, 1 - p), hi = quantile(sorted, p);
    if (is_constant(lo, hi, codes)) continue;
    const RealZeroGrid grid = grid_between(lo, hi, codes);
    const double error = squared_error(grid, x);
    if (error >= least) continue;
    least = error;
    best = grid;
  }
  return best;
}

}  // namespace detail

/// One grid for all of x.
template <class T>
RealZeroGrid percentile_grid(View<const T, 2> x, CodeRange codes) {
  return detail::percentile_grid(finite_doubles("x", x).span(), codes);
}

/// A grid per row: of a weight [out, in], one for each output.
template <class T>
std::vector<RealZeroGrid> percentile_grids(View<const T, 2> x, CodeRange codes) {
  std::vector<RealZeroGrid> out;
  for (Index r = 0; r < x.extent(0); ++r)
    out.push_back(percentile_grid<T>(x.slice(0, r, 1), codes));
  return out;
}

/// x ~ grid, in place; `grids` has one grid for all rows or one per row.
template <class T>
void round_trip(std::span<const RealZeroGrid> grids, View<T, 2> x) {
  require(grids.size() == 1 || static_cast<Index>(grids.size()) == x.extent(0),
          "round_trip: there are ", grids.size(), " grids for ", x.extent(0),
          " rows; wanted one, or one per row");
  for (Index r = 0; r < x.extent(0); ++r) {
    const RealZeroGrid& grid = grids[grids.size() == 1 ? 0 : static_cast<std::size_t>(r)];
    for (Index c = 0; c < x.extent(1); ++c)
      x(r, c) = static_cast<T>(grid.round_trip(static_cast<double>(x(r, c))));
  }
}

}  // namespace weft::quant
