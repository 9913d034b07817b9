#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace weft {

/// IEEE 754 half precision (1 sign, 5 exponent and 10 mantissa bits). Storage only: arithmetic
/// happens in float, to which it converts exactly.
///
/// From float it rounds to nearest, ties to even; results below 2^-14 are denormals, from 65520 on
/// infinity, and a NaN stays a NaN of the same sign and upper payload, made quiet (both ways, as
/// the processors' own conversion does).
struct fp16 {
  std::uint16_t bits;

  fp16() = default;
  constexpr explicit fp16(float value) noexcept
      : bits(round(std::bit_cast<std::uint32_t>(value))) {}

  static constexpr fp16 from_bits(std::uint16_t bits) noexcept {
    fp16 out{};
    out.bits = bits;
    return out;
  }

  constexpr operator float() const noexcept {
    const std::uint32_t magnitude = bits & 0x7fffu;
    const std::uint32_t sign = (bits & 0x8000u) << 16;
    return std::bit_cast<float>(sign | widen(magnitude));
  }

 private:
  static constexpr std::uint32_t widen(std::uint32_t magnitude) noexcept {
    if (magnitude < 0x0400u)  // zero or denormal: a multiple of 2^-24
      return std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * 0x1p-24f);
    if (magnitude < 0x7c00u) return (magnitude << 13) + 0x38000000u;  // exponent bias 15 -> 127
    return (magnitude << 13) | 0x7f800000u | (magnitude > 0x7c00u ? 0x00400000u : 0u);
  }

  static constexpr std::uint16_t round(std::uint32_t value) noexcept {
    const std::uint32_t sign = (value >> 16) & 0x8000u;
    return static_cast<std::uint16_t>(sign | narrow(value & 0x7fffffffu));
  }

  static constexpr std::uint32_t narrow(std::uint32_t magnitude) noexcept {
    if (magnitude > 0x7f800000u) return 0x7e00u | ((magnitude >> 13) & 0x01ffu);
    if (magnitude >= 0x477ff000u) return 0x7c00u;  // 65520, halfway beyond the largest half
    if (magnitude < 0x38800000u) {
      // Below 2^-14: adding 0.5, whose last place is 2^-24, makes the addition do the rounding.
      const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
      return std::bit_cast<std::uint32_t>(rounded) - std::bit_cast<std::uint32_t>(0.5f);
    }
    return (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  }
};

}  // namespace weft

template <>
class std::numeric_limits<weft::fp16> {
 public:
  static constexpr bool is_specialized = true;
  static constexpr bool is_signed = true;
  static constexpr bool is_integer = false;
  static constexpr bool is_exact = false;
  static constexpr bool is_iec559 = false;
  static constexpr bool has_infinity = true;
  static constexpr bool has_quiet_NaN = true;
  static constexpr int radix = 2;
  static constexpr int digits = 11;
  static constexpr int min_exponent = -13;
  static constexpr int max_exponent = 16;

  static constexpr weft::fp16 min() noexcept { return weft::fp16::from_bits(0x0400); }
  static constexpr weft::fp16 max() noexcept { return weft::fp16::from_bits(0x7bff); }
  static constexpr weft::fp16 lowest() noexcept { return weft::fp16::from_bits(0xfbff); }
  static constexpr weft::fp16 epsilon() noexcept { return weft::fp16(0x1p-10f); }
  static constexpr weft::fp16 denorm_min() noexcept { return weft::fp16::from_bits(0x0001); }
  static constexpr weft::fp16 infinity() noexcept { return weft::fp16::from_bits(0x7c00); }
  static constexpr weft::fp16 quiet_NaN() noexcept { return weft::fp16::from_bits(0x7e00); }
};
