#pragma once

#include <weft/core/bytes.hpp>
#include <weft/core/check.hpp>

#include <span>

/// Two codes of 4 bits in a byte, and tables that such codes are looked up in.
///
///   low_first    byte i = code[2i] | code[2i + 1] << 4      weft's own layout
///   high_first   byte i = code[2i] << 4 | code[2i + 1]      bitsandbytes
///
/// An odd number of codes leaves half of the last byte to `padding`.
namespace weft::quant {

enum class NibbleOrder { low_first, high_first };

/// Bytes that hold `count` codes.
constexpr std::size_t nibble_bytes(std::size_t count) noexcept { return (count + 1) / 2; }

/// Throws when the sizes differ or a code has more than 4 bits.
inline void pack_nibbles(std::span<const std::uint8_t> codes, NibbleOrder order,
                         std::span<std::uint8_t> bytes, std::uint8_t padding = 0) {
  require(bytes.size() == nibble_bytes(codes.size()), codes.size(), " codes of 4 bits fill ",
          nibble_bytes(codes.size()), " bytes, there are ", bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const int first = codes[2 * i];
    const int second = 2 * i + 1 < codes.size() ? codes[2 * i + 1] : padding;
    require(first < 16 && second < 16, "the codes ", first, " and ", second,
            " are to be packed; 4 bits hold 0 to 15");
    const bool low_first = order == NibbleOrder::low_first;
    bytes[i] = static_cast<std::uint8_t>(low_first ? first | second << 4 : first << 4 | second);
  }
}

/// Code i of packed codes.
constexpr std::uint8_t nibble(const std::uint8_t* bytes, std::size_t i,
                              NibbleOrder order) noexcept {
  const bool low = (i % 2 == 0) == (order == NibbleOrder::low_first);
  return static_cast<std::uint8_t>(low ? bytes[i / 2] & 15 : bytes[i / 2] >> 4);
}

/// Throws when the sizes differ.
inline void unpack_nibbles(std::span<const std::uint8_t> bytes, NibbleOrder order,
                           std::span<std::uint8_t> codes) {
  require(bytes.size() == nibble_bytes(codes.size()), codes.size(), " codes of 4 bits fill ",
          nibble_bytes(codes.size()), " bytes, there are ", bytes.size());
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = nibble(bytes.data(), i, order);
}

/// As many codes as a register has 32-bit lanes, from half as many bytes.
template <NibbleOrder O, class A = DefaultArch>
[[gnu::always_inline]] inline Vec<std::int32_t, A> load_nibbles(const std::uint8_t* p) noexcept {
#if defined(__AVX2__)
  // Every byte twice, then shifted by 0 and 4 in turn.
  if constexpr (weft::detail::kAvx512<typename A::simd> || weft::detail::kAvx2<typename A::simd>) {
    constexpr long long kShifts = O == NibbleOrder::low_first ? 4LL << 32 : 4LL;
    const __m128i twice = _mm_setr_epi8(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    if constexpr (weft::detail::kAvx512<typename A::simd>) {
      const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
      const __m512i lanes = _mm512_cvtepu8_epi32(_mm_shuffle_epi8(bytes, twice));
      return _mm512_and_si512(_mm512_srlv_epi32(lanes, _mm512_set1_epi64(kShifts)),
                              _mm512_set1_epi32(15));
    } else {
      std::int32_t word;
      std::memcpy(&word, p, sizeof word);
      const __m256i lanes = _mm256_cvtepu8_epi32(_mm_shuffle_epi8(_mm_cvtsi32_si128(word), twice));
      return _mm256_and_si256(_mm256_srlv_epi32(lanes, _mm256_set1_epi64x(kShifts)),
                              _mm256_set1_epi32(15));
    }
  } else
#endif
  {
    alignas(64) std::int32_t lanes[kWidth<float, A>];
    for (Index i = 0; i < kWidth<float, A>; ++i)
      lanes[i] = nibble(p, static_cast<std::size_t>(i), O);
    return Vec<std::int32_t, A>::load_aligned(lanes);
  }
}

/// Sixteen floats to be looked up by codes in registers: one permutation with AVX-512, two and a
/// blend with AVX2.
template <class A = DefaultArch>
class Table16 {
 public:
  using Float = Vec<float, A>;
  using Int = Vec<std::int32_t, A>;

  explicit Table16(std::span<const float, 16> values) noexcept {
    if constexpr (kInRegisters) {
      for (Index i = 0; i < kParts; ++i) parts_[i] = load<A>(values.data() + i * kWidth<float, A>);
    } else {
      std::memcpy(values_, values.data(), sizeof values_);
    }
  }

  /// The lowest 4 bits of a lane are its code.
  [[gnu::always_inline]] Float operator()(const Int& codes) const noexcept {
#if defined(__AVX512F__)
    if constexpr (kWidth<float, A> == 16) return _mm512_permutexvar_ps(codes, parts_[0]);
#endif
#if defined(__AVX2__)
    if constexpr (kWidth<float, A> == 8 && kInRegisters) {
      const __m256 low = _mm256_permutevar8x32_ps(parts_[0], codes);
      const __m256 high = _mm256_permutevar8x32_ps(parts_[1], codes);
      // Bit 3 of the code, moved to the sign, chooses.
      return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
    }
#endif
    if constexpr (!kInRegisters) {
      alignas(64) std::int32_t at[kWidth<float, A>];
      alignas(64) float lanes[kWidth<float, A>];
      codes.store_aligned(at);
      for (Index i = 0; i < kWidth<float, A>; ++i) lanes[i] = values_[at[i] & 15];
      return Float::load_aligned(lanes);
    }
  }

 private:
  static constexpr bool kInRegisters =
      weft::detail::kAvx512<typename A::simd> || weft::detail::kAvx2<typename A::simd>;
  static constexpr Index kParts = 16 / kWidth<float, A>;

  struct None {};
  std::conditional_t<kInRegisters, Float[kParts], None> parts_;
  std::conditional_t<kInRegisters, None, float[16]> values_;
};

}  // namespace weft::quant
