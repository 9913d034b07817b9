#pragma once

#include <weft/core/lanes.hpp>
#include <weft/core/math/exponent.hpp>
#include <weft/core/scratch.hpp>

#include <cmath>
#include <cstdint>
#include <limits>

/// e^x of integers by integers: the i-exp of I-BERT (arXiv 2101.01321), for x = scale n, n <= 0.
///
///   x0 = floor(-0.6931 / scale)           ln 2, negative
///   b  = floor(0.96963238 / 0.35815147 / scale),   c = floor(1 / 0.35815147 / scale^2)
///   d  = max(n, 30 x0),   q = floor(d / x0),   r = d - x0 q           r in (x0, 0]
///   e  = (r (r + b) + c) 2^(30 - q)        e^x ~ exp_scale e, exp_scale = 0.35815147 scale^2 /
///   2^30
///
/// The absolute error is below 2e-3 for fine scales and grows with the scale, since x0, b and c are
/// whole numbers. The smallest result is not 0 but about 2^-30 of the largest one.
///
/// The integers live in lanes of double. Each of them has at most 53 significant bits, so that
/// every operation is exact and the result is the same integer on every instruction set; 64-bit
/// integer products, which the definition would need, exist in no instruction set before AVX-512.
namespace weft::quant {

/// The constants of one scale. Throws unless 2^-24 <= scale <= 1: finer ones need more than 53
/// bits, coarser ones leave nothing of the polynomial.
struct IntegerExp {
  double ln2, b, c;  ///< -x0, b, c
  double exp_scale;

  explicit IntegerExp(double scale)
      : ln2(-std::floor(-0.6931 / scale)),
        b(std::floor(0.96963238 / 0.35815147 / scale)),
        c(std::floor(1 / 0.35815147 / (scale * scale))),
        exp_scale(0.35815147 * (scale * scale) * 0x1p-30) {
    require(scale >= 0x1p-24 && scale <= 1, "IntegerExp: the scale is ", scale,
            ", must be in [2^-24, 1]");
  }

  /// e of n = 0, which is the largest.
  double one() const noexcept { return c * 0x1p30; }

  /// e of a register of integers <= 0.
  template <class X>
  [[gnu::always_inline]] xsimd::batch<double, X> operator()(
      const xsimd::batch<double, X>& n) const noexcept {
    using V = xsimd::batch<double, X>;
    const V distance = xsimd::min(V(0) - n, V(30 * ln2));
    // (distance + 1/2) / ln2 is at least 1 / (2 ln2) away from every integer, much farther than
    // rounding reaches, so the reciprocal will do.
    const V q = xsimd::floor((distance + V(0.5)) * V(1 / ln2));
    const V r = mul_add(q, V(ln2), V(0) - distance);
    const V z = mul_add(r, r + V(b), V(c));
    const auto power = math::detail::nearest_powers(V(30) - q);
    return z * math::detail::power_of_two<V>(power.field);
  }
};

namespace detail {

/// Stands in a row for what is not visible; no int32 minus another one is as small.
inline constexpr double kHidden = -0x1p60;

/// Scores of one row as doubles, kHidden where `visible` (may be null) is 0 and up to a multiple of
/// the register. Returns the largest, kHidden if none is visible.
template <class A>
double visible_scores(const std::int32_t* x, const std::uint8_t* visible, Index n, Index padded,
                      double* to) noexcept {
  std::int32_t largest = std::numeric_limits<std::int32_t>::min();
  bool any = false;
  for (Index j = 0; j < n; ++j) to[j] = x[j];
  if (visible == nullptr) {
    for (Index j = 0; j < n; ++j) largest = std::max(largest, x[j]);
    any = n > 0;
  } else {
    for (Index j = 0; j < n; ++j) {
      if (visible[j] == 0) {
        to[j] = kHidden;
        continue;
      }
      largest = std::max(largest, x[j]);
      any = true;
    }
  }
  std::fill(to + n, to + padded, kHidden);
  return any ? largest : kHidden;
}

/// e of (score - largest) of a register of them, exactly 0 where hidden.
template <class A>
[[gnu::always_inline]] inline Vec<double, A> visible_exp(const IntegerExp& exp, double largest,
                                                         const double* scores) noexcept {
  using V = Vec<double, A>;
  const V x = load<A>(scores);
  return xsimd::select(x == V(kHidden), V(0), exp(xsimd::min(x - V(largest), V(0))));
}

}  // namespace detail
}  // namespace weft::quant
