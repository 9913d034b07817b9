#pragma once

#include <cmath>
#include <concepts>

/// To the nearest integer; the three differ at exact halves only.
namespace weft::quant {

/// Ties to even: what IEEE arithmetic, PyTorch, NumPy and vector conversions do, and the default of
/// everything here. Needs the default rounding mode of the machine.
template <std::floating_point T>
T round_half_even(T x) noexcept {
  return std::nearbyint(x);
}

/// Ties away from zero: C's round, CUDA kernels that add 0.5 and truncate, ggml.
template <std::floating_point T>
T round_half_away(T x) noexcept {
  return std::round(x);
}

/// Ties up: floor(x + 1/2), but without the error that the addition makes just below a half.
template <std::floating_point T>
T round_half_up(T x) noexcept {
  const T below = std::floor(x);
  return x - below < T(0.5) ? below : below + T(1);
}

}  // namespace weft::quant
