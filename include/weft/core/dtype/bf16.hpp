#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace weft {

/// bfloat16: the upper half of a float (1 sign, 8 exponent and 7 mantissa bits). Storage only:
/// arithmetic happens in float, to which it converts exactly.
///
/// From float it rounds to nearest, ties to even; denormals are kept, overflow gives infinity, and
/// a NaN stays a NaN of the same sign and upper payload, made quiet.
struct bf16 {
  std::uint16_t bits;

  bf16() = default;
  constexpr explicit bf16(float value) noexcept
      : bits(round(std::bit_cast<std::uint32_t>(value))) {}

  static constexpr bf16 from_bits(std::uint16_t bits) noexcept {
    bf16 out{};
    out.bits = bits;
    return out;
  }

  constexpr operator float() const noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }

 private:
  static constexpr std::uint16_t round(std::uint32_t value) noexcept {
    const bool nan = (value & 0x7fffffffu) > 0x7f800000u;
    const std::uint32_t rounded = value + 0x7fffu + ((value >> 16) & 1u);
    return static_cast<std::uint16_t>((nan ? value | 0x00400000u : rounded) >> 16);
  }
};

}  // namespace weft

template <>
class std::numeric_limits<weft::bf16> {
 public:
  static constexpr bool is_specialized = true;
  static constexpr bool is_signed = true;
  static constexpr bool is_integer = false;
  static constexpr bool is_exact = false;
  static constexpr bool is_iec559 = false;
  static constexpr bool has_infinity = true;
  static constexpr bool has_quiet_NaN = true;
  static constexpr int radix = 2;
  static constexpr int digits = 8;
  static constexpr int min_exponent = -125;
  static constexpr int max_exponent = 128;

  static constexpr weft::bf16 min() noexcept { return weft::bf16::from_bits(0x0080); }
  static constexpr weft::bf16 max() noexcept { return weft::bf16::from_bits(0x7f7f); }
  static constexpr weft::bf16 lowest() noexcept { return weft::bf16::from_bits(0xff7f); }
  static constexpr weft::bf16 epsilon() noexcept { return weft::bf16(0x1p-7f); }
  static constexpr weft::bf16 denorm_min() noexcept { return weft::bf16::from_bits(0x0001); }
  static constexpr weft::bf16 infinity() noexcept { return weft::bf16::from_bits(0x7f80); }
  static constexpr weft::bf16 quiet_NaN() noexcept { return weft::bf16::from_bits(0x7fc0); }
};
