#pragma once

#include <weft/core/tensor.hpp>
#include <weft/quant/rounding.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

/// Numbers of a key/value cache in 2, 4 or 8 bits.
///
///   x ~ scale code + low,   code = clamp(rint((x - low) / scale), 0, 2^b - 1)
///   low = min x, scale = (max x - min x) / (2^b - 1)                             (affine)
///
///   x ~ scale (code - 2^(b-1)),   code = clamp(rint(x / scale), -q, q) + 2^(b-1)
///   scale = max |x| / q, q = 2^(b-1) - 1                                         (symmetric)
///
/// over the numbers that share a grid. Affine grids are those of KIVI (arXiv:2402.02750): the
/// smallest and the largest number are met exactly up to rounding, and 0 need not be. A grid of
/// equal numbers has scale 0 (affine) or, if they are all 0, scale 1 (symmetric). NaN and infinity
/// make NaN of all numbers that share their grid, and of no others.
namespace weft::quant {

/// How one number is stored.
struct KvFormat {
  int bits = 8;           ///< 2, 4 or 8
  bool symmetric = true;  ///< else affine

  constexpr int top() const noexcept { return (1 << bits) - 1; }     ///< largest code
  constexpr int center() const noexcept { return 1 << (bits - 1); }  ///< code in the middle

  friend bool operator==(const KvFormat&, const KvFormat&) = default;
};

inline void check_format(const KvFormat& format, const char* name) {
  require(format.bits == 2 || format.bits == 4 || format.bits == 8, name, " of ", format.bits,
          " bits; a cache stores 2, 4 or 8");
}

/// The numbers that the codes of one grid stand for.
struct KvGrid {
  KvFormat format;
  float scale = 1;
  float low = 0;  ///< affine only

  /// The code of a number that is not NaN.
  int encode(float x) const noexcept {
    if (format.symmetric) {
      const auto most = static_cast<float>(format.center() - 1);
      return static_cast<int>(std::clamp(round_half_even(x / scale), -most, most)) +
             format.center();
    }
    if (scale == 0.f) return 0;
    const float code = std::clamp((x - low) / scale, 0.f, static_cast<float>(format.top()));
    return static_cast<int>(round_half_even(code));
  }
  float decode(int code) const noexcept {
    if (format.symmetric) return scale * static_cast<float>(code - format.center());
    return scale * static_cast<float>(code) + low;
  }
  bool is_finite() const noexcept { return std::isfinite(scale) && std::isfinite(low); }
};

/// The grid of n numbers, `step` apart.
inline KvGrid fit_grid(const KvFormat& format, const float* x, Index n, Index step) noexcept {
  float lo = n > 0 ? x[0] : 0.f, hi = lo;
  bool finite = true;
  for (Index i = 0; i < n; ++i) {
    const float v = x[i * step];
    finite = finite && std::isfinite(v);
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  if (!finite) {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    return {format, nan, nan};
  }
  if (!format.symmetric) return {format, (hi - lo) / static_cast<float>(format.top()), lo};
  const float scale = std::max(-lo, hi) / static_cast<float>(format.center() - 1);
  return {format, scale == 0.f ? 1.f : scale, 0.f};
}

}  // namespace weft::quant
