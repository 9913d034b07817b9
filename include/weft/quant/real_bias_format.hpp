#pragma once

#include <weft/core/check.hpp>
#include <weft/quant/rounding.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace weft::quant {

/// Floating-point formats with a real exponent bias (LLM-FP4: 4-Bit Floating-Point Quantized
/// Transformers, arXiv:2310.16836).
///
/// With E exponent and M mantissa bits, a code is sign << (E + M) | e << M | m and stands for
///
///   (-1)^sign 2^(e - b) (1 + m / 2^M)   where e >= 1
///   (-1)^sign 2^(1 - b) (m / 2^M)       where e == 0
///
/// All codes are numbers: there is no infinity and no NaN. The bias b is any real number, so it is
/// a scale: Q(x; b) = 2^-b Q(2^b x; 0). E2M1 with b = 1 is the fp4 of OCP, E1M2 a uniform grid of
/// eight magnitudes, E3M0 the powers of two and zero.
///
///   max_value    (2 - 2^-M) 2^(2^E - 1 - b)
///   round_trip   the nearest value, ties to even; beyond max_value that
///   min_max_bias the bias for which max_value is a given magnitude
///
/// Everything is computed in double. `round_trip` keeps NaN; `encode` has no code for it and gives
/// 0, which is also the code of -0.
struct RealBiasFormat {
  int exponent_bits = 2;  ///< E, 1 to 8
  int mantissa_bits = 1;  ///< M, 0 to 22

  constexpr int bits() const noexcept { return 1 + exponent_bits + mantissa_bits; }
};

/// A format with its bias: the two powers of two are computed once for many elements.
///
/// Throws when the format is not one of the above or |bias| exceeds 500.
class RealBiasGrid {
 public:
  RealBiasGrid(RealBiasFormat format, double bias) : format_(format) {
    const auto [e, m] = format;
    require(e >= 1 && e <= 8 && m >= 0 && m <= 22, "a format of ", e, " exponent and ", m,
            " mantissa bits; from 1 to 8 and from 0 to 22 are possible");
    require(std::abs(bias) <= 500, "exponent bias ", bias, ", from -500 to 500 is possible");
    up_ = std::exp2(bias);
    down_ = std::exp2(-bias);
    last_place_ = std::ldexp(1., -m);
    limit_ = std::ldexp(2 - last_place_, (1 << e) - 1);
  }

  RealBiasFormat format() const noexcept { return format_; }
  double max_value() const noexcept { return limit_ * down_; }

  double round_trip(double x) const noexcept {
    if (std::isnan(x)) return x;
    const Magnitude size = nearest(x);
    return std::copysign(size.steps * size.quantum * down_, x);
  }

  int encode(double x) const noexcept {
    if (std::isnan(x)) return 0;
    const int m = format_.mantissa_bits;
    const Magnitude size = nearest(x);
    // 2^M steps are the first code of a binade and 2^(M + 1) that of the next; fewer, and only in
    // the first binade, are the subnormal codes.
    const int binade = std::ilogb(size.quantum) + m - 1;
    const int code = static_cast<int>(size.steps) + (binade << m);
    return code != 0 && std::signbit(x) ? code | sign_bit() : code;
  }

  /// Throws when the code has more bits than the format.
  double decode(int code) const {
    require(code >= 0 && code < 2 * sign_bit(), "code ", code, " of a format of ", format_.bits(),
            " bits");
    const int m = format_.mantissa_bits;
    const int magnitude = code & (sign_bit() - 1);
    const int e = magnitude >> m, fraction = magnitude & ((1 << m) - 1);
    const double steps = e == 0 ? fraction : fraction + (1 << m);
    const double value = std::ldexp(steps, std::max(e, 1) - m) * down_;
    return code >= sign_bit() ? -value : value;
  }

 private:
  /// A magnitude of the grid without bias; at most 2^(M + 1) steps.
  struct Magnitude {
    double steps;
    double quantum;  ///< a power of two
  };

  Magnitude nearest(double x) const noexcept {
    const double size = std::min(std::abs(x) * up_, limit_);
    const double quantum = std::max(power_of_two_below(size), 2.) * last_place_;
    return {round_half_even(size / quantum), quantum};
  }

  /// The number without its mantissa.
  static double power_of_two_below(double x) noexcept {
    return std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) & 0x7ff0000000000000u);
  }

  int sign_bit() const noexcept { return 1 << (format_.exponent_bits + format_.mantissa_bits); }

  RealBiasFormat format_;
  double up_, down_;   ///< 2^b and 2^-b
  double last_place_;  ///< 2^-M
  double limit_;       ///< the largest value without bias
};

/// The largest value.
inline double max_value(RealBiasFormat format, double bias) {
  return RealBiasGrid(format, bias).max_value();
}

/// The bias whose largest value is `absmax`. For 0, where any would do, 2^(E - 1). Throws when
/// absmax is negative or not finite.
inline double min_max_bias(RealBiasFormat format, double absmax) {
  require(absmax >= 0 && std::isfinite(absmax), "absmax is ", absmax,
          "; it must be finite and not negative");
  if (absmax == 0) return std::ldexp(1., format.exponent_bits - 1);
  return std::log2(RealBiasGrid(format, 0).max_value()) - std::log2(absmax);
}

inline double round_trip(double x, RealBiasFormat format, double bias) {
  return RealBiasGrid(format, bias).round_trip(x);
}
inline int encode(double x, RealBiasFormat format, double bias) {
  return RealBiasGrid(format, bias).encode(x);
}
inline double decode(int code, RealBiasFormat format, double bias) {
  return RealBiasGrid(format, bias).decode(code);
}

}  // namespace weft::quant
