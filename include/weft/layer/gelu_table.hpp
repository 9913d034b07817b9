#pragma once

#include <weft/core/simd.hpp>

#include <algorithm>
#include <array>
#include <cstdint>

/// GELU by a table (Edge-MoE: Memory-Efficient Multi-Task Vision Transformer Architecture with
/// Task-level Sparsity via Mixture-of-Experts, arXiv:2305.18691), as its accelerator computes it:
///
///   gap(u)  = relu(u) - gelu(u) = u Phi(-u),  which is even in u
///   T[i]    = gap(i / 32) rounded to the nearest multiple of 2^-22,   i = 0 .. 176
///   gelu(x) ~ relu(x) - lerp(T, 32 |x|),  and relu(x) where |x| >= 5.5
///
/// The error is at most 9.8e-5, at |x| = 1/64. Exact at 0, f(x) - f(-x) = x, NaN stays NaN. The
/// single-pass softmax of the same paper is PlainSoftmax. A table serves hardware without an
/// exponential; on a CPU core/activation.hpp is quicker.
namespace weft {

namespace detail {

inline constexpr Index kGeluSteps = 32;  ///< table entries per unit
inline constexpr std::size_t kGeluEntries = 177;
inline constexpr double kGeluUnit = 1.0 / (1 << 22);

/// e^x for x >= 0 at compile time: its series, all terms positive.
constexpr double series_exp(double x) noexcept {
  double term = 1, sum = 1;
  for (int n = 1; term > sum * 1e-17; ++n) sum += term *= x / n;
  return sum;
}

/// u Phi(-u) for u >= 0, from Phi(u) = 1/2 + phi(u) (u + u^3 / 3 + u^5 / (3 5) + ...).
constexpr double gelu_gap(double u) noexcept {
  double term = u, sum = u;
  for (int n = 3; term > sum * 1e-17; n += 2) sum += term *= u * u / n;
  const double density = 0.39894228040143267794 / series_exp(u * u / 2);
  return u * (0.5 - density * sum);
}

/// The published table, in units of 2^-22.
inline constexpr auto kGeluTable = [] {
  std::array<std::int32_t, kGeluEntries> table{};
  for (std::size_t i = 0; i < kGeluEntries; ++i)
    table[i] = static_cast<std::int32_t>(gelu_gap(double(i) / kGeluSteps) / kGeluUnit + 0.5);
  return table;
}();

}  // namespace detail

/// A function of a register, like those of core/activation.hpp: Activate<GeluTable>.
struct GeluTable {
  template <class V>
  V operator()(V x) const noexcept {
    using T = typename V::value_type;
    constexpr Index last = static_cast<Index>(detail::kGeluEntries) - 1;
    const V end(static_cast<T>(last) / detail::kGeluSteps), size = xsimd::abs(x);
    // Lanes beyond the table, and NaN, read its end; the first operand of min gives way to NaN.
    const V at = xsimd::min(size, end) * V(T(detail::kGeluSteps));
    T lanes[V::size];
    at.store_unaligned(lanes);
    for (T& lane : lanes) lane = interpolated(lane);
    const V gap = V::load_unaligned(lanes);
    const V half(T(0.5)), relu = half * x + half * size;  // keeps NaN
    return xsimd::select(size < end, relu - gap, relu);
  }

 private:
  template <class T>
  static T interpolated(T at) noexcept {
    constexpr std::size_t last = detail::kGeluEntries - 1;
    const auto i = std::min(static_cast<std::size_t>(at), last - 1);
    const T low = static_cast<T>(detail::kGeluTable[i] * detail::kGeluUnit);
    const T high = static_cast<T>(detail::kGeluTable[i + 1] * detail::kGeluUnit);
    return low + (at - static_cast<T>(i)) * (high - low);
  }
};

}  // namespace weft
