#pragma once

#include <weft/core/check.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <span>

namespace weft::quant {

/// What the codes of the largest exponent are.
enum class Specials {
  none,  ///< numbers like all others
  nan,   ///< numbers, but for NaN where all mantissa bits are set too
  ieee,  ///< infinity where the mantissa is 0, else NaN
};

/// What becomes of a number that rounds to more than the largest one, infinities included.
enum class Overflow {
  saturate,  ///< the largest number
  special,   ///< infinity or else NaN; the largest number in formats that have neither
};

/// Small floating-point formats (IEEE 754; OCP 8-bit Floating Point Specification; OCP
/// Microscaling Formats). A code is sign << (E + M) | e << M | m and stands for
///
///   (-1)^sign 2^(e - bias) (1 + m / 2^M)   where e >= 1
///   (-1)^sign 2^(1 - bias) (m / 2^M)       where e == 0
///
///   format   E M bias   largest   smallest normal, subnormal   specials
///   E4M3     4 3    7   448       2^-6     2^-9                NaN 7f, ff
///   E5M2     5 2   15   57344     2^-14    2^-16               Inf 7c, fc; NaN 7d-7f, fd-ff
///   E3M2     3 2    3   28        1/4      1/16                none
///   E2M3     2 3    1   7.5       1        1/8                 none
///   E2M1     2 1    1   6         1        1/2                 none
///
/// Decoding is exact. Encoding rounds a float once, to nearest, ties to even, subnormals included,
/// and keeps the sign of zero. NaN becomes a NaN of the same sign; where there is none it becomes
/// +0, so a caller who cares looks for NaN beforehand (MX blocks do: mx.hpp).
///
/// The bias of a format is at most 127, and 127 with 8 exponent bits: every value is a float.
struct FloatFormat {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  Specials specials;

  friend bool operator==(const FloatFormat&, const FloatFormat&) = default;

  constexpr int bits() const noexcept { return 1 + exponent_bits + mantissa_bits; }
  constexpr std::uint32_t sign_bit() const noexcept { return 1u << (bits() - 1); }

  /// The code of the largest number.
  constexpr std::uint32_t max_code() const noexcept {
    const std::uint32_t end = sign_bit() - 1;
    if (specials == Specials::nan) return end - 1;
    return specials == Specials::ieee ? end - (1u << mantissa_bits) : end;
  }
  constexpr float max() const noexcept { return decode(max_code()); }
  /// floor(log2(max())).
  constexpr int max_exponent() const noexcept {
    return static_cast<int>(max_code() >> mantissa_bits) - bias;
  }

  /// The code of infinity or else NaN or else the largest number.
  constexpr std::uint32_t overflow_code(Overflow overflow) const noexcept {
    const bool has_special = specials != Specials::none && overflow == Overflow::special;
    return max_code() + (has_special ? 1 : 0);
  }
  /// The code of NaN, with the quiet bit as in IEEE 754; 0 where there is none.
  constexpr std::uint32_t nan_code() const noexcept {
    if (specials == Specials::ieee) return max_code() + 1 + (1u << (mantissa_bits - 1));
    return specials == Specials::nan ? max_code() + 1 : 0;
  }

  /// Bits of the code beyond those of the format have no meaning and must be 0.
  constexpr float decode(std::uint32_t code) const noexcept {
    const std::uint32_t size = code & (sign_bit() - 1);
    const std::uint32_t sign = (code & sign_bit()) << (32 - bits());
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude(size)));
  }

  constexpr std::uint32_t encode(float x, Overflow overflow = Overflow::saturate) const noexcept {
    const auto word = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t size = word & 0x7fffffffu;
    const std::uint32_t sign = (word >> (32 - bits())) & sign_bit();
    if (size > 0x7f800000u) return specials == Specials::none ? 0 : sign | nan_code();
    const std::uint32_t code = rounded(size);
    return sign | (code > max_code() ? overflow_code(overflow) : code);
  }

 private:
  constexpr float magnitude(std::uint32_t size) const noexcept {
    if (size > max_code()) {
      const bool infinite = specials == Specials::ieee && size == max_code() + 1;
      return infinite ? std::numeric_limits<float>::infinity()
                      : std::numeric_limits<float>::quiet_NaN();
    }
    const std::uint32_t shifted = size << (23 - mantissa_bits);
    const auto one = static_cast<std::uint32_t>(127 - bias) << 23;
    if (size >> mantissa_bits != 0) return std::bit_cast<float>(shifted + one);
    // As if there were a hidden 1, which is then taken away again.
    const std::uint32_t first = one + (1u << 23);
    return std::bit_cast<float>(shifted + first) - std::bit_cast<float>(first);
  }

  /// The code of a number, as if there were no largest one.
  constexpr std::uint32_t rounded(std::uint32_t size) const noexcept {
    const auto one = static_cast<std::uint32_t>(127 - bias) << 23;
    if (size < one + (1u << 23)) {
      // Subnormal: next to a number whose last place is the quantum, the addition rounds.
      const std::uint32_t anchor = one + (static_cast<std::uint32_t>(24 - mantissa_bits) << 23);
      const float sum = std::bit_cast<float>(size) + std::bit_cast<float>(anchor);
      return std::bit_cast<std::uint32_t>(sum) - anchor;
    }
    const int dropped = 23 - mantissa_bits;
    const std::uint32_t code = size - one;
    return (code + (1u << (dropped - 1)) - 1 + ((code >> dropped) & 1u)) >> dropped;
  }
};

inline constexpr FloatFormat kE4M3{4, 3, 7, Specials::nan};
inline constexpr FloatFormat kE5M2{5, 2, 15, Specials::ieee};
inline constexpr FloatFormat kE3M2{3, 2, 3, Specials::none};
inline constexpr FloatFormat kE2M3{2, 3, 1, Specials::none};
inline constexpr FloatFormat kE2M1{2, 1, 1, Specials::none};

/// The values of all codes of a format of at most 8 bits, in order of the codes.
template <FloatFormat F>
inline constexpr auto kFloatValues = [] {
  static_assert(F.bits() <= 8, "tables are for formats of at most 8 bits");
  std::array<float, std::size_t{1} << F.bits()> values{};
  for (std::size_t code = 0; code < values.size(); ++code)
    values[code] = F.decode(static_cast<std::uint32_t>(code));
  return values;
}();

/// A power of two as a byte, E8M0: 2^(byte - 127), and NaN for 255. There is no zero and no sign.
constexpr float decode_e8m0(std::uint8_t byte) noexcept {
  if (byte == 0xff) return std::numeric_limits<float>::quiet_NaN();
  if (byte == 0) return 0x1p-127f;
  return std::bit_cast<float>(static_cast<std::uint32_t>(byte) << 23);
}

/// The byte of 2^exponent, which is moved into -127 ... 127.
constexpr std::uint8_t encode_e8m0(int exponent) noexcept {
  return static_cast<std::uint8_t>(std::clamp(exponent, -127, 127) + 127);
}

}  // namespace weft::quant
