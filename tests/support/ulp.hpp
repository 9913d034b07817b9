#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

/// Distance of a computed number from the true one in units of the last place of T, the place being
/// that of the true value (2^-149 for denormal floats). Infinity counts as the power of two that
/// follows the largest number; NaN where it should not be, or missing, is infinitely far away.
template <class T, class Wide>
double ulp_distance(T got, Wide want) {
  using Limits = std::numeric_limits<T>;
  constexpr double kFar = std::numeric_limits<double>::infinity();
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) == std::isnan(got) ? 0 : kFar;
  const Wide top = std::ldexp(Wide(1), Limits::max_exponent);
  const Wide g =
      std::isinf(got) ? std::copysign(top, static_cast<Wide>(got)) : static_cast<Wide>(got);
  const Wide w = std::fabs(want) > top ? std::copysign(top, want) : want;
  int exponent = Limits::min_exponent;
  if (w != 0) std::frexp(w, &exponent);
  exponent = std::clamp(exponent, Limits::min_exponent, Limits::max_exponent);
  const Wide place = std::ldexp(Wide(1), exponent - Limits::digits);
  return static_cast<double>(std::fabs(g - w) / place);
}
