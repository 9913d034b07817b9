#pragma once

#include <weft/core/lanes.hpp>

#include <cstdint>

/// Bytes in memory, one per 32-bit lane in registers.
namespace weft::quant::detail {

using weft::detail::kAvx2;
using weft::detail::kAvx512;
using weft::detail::kSse41;

/// As many bytes as a register has 32-bit lanes, zero-extended.
template <class A>
[[gnu::always_inline]] inline Vec<std::int32_t, A> load_bytes(const std::uint8_t* p) noexcept {
#if defined(__SSE2__)
  if constexpr (kAvx512<typename A::simd>) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (kAvx2<typename A::simd>) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (kSse41<typename A::simd>) {
    std::int32_t word;
    std::memcpy(&word, p, sizeof word);
    return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(word));
  } else
#endif
  {
    alignas(64) std::int32_t lanes[kWidth<float, A>];
    for (Index i = 0; i < kWidth<float, A>; ++i) lanes[i] = p[i];
    return Vec<std::int32_t, A>::load_aligned(lanes);
  }
}

/// The lowest bytes of the lanes. The upper ones must be zero.
template <class A>
[[gnu::always_inline]] inline void store_bytes(std::uint8_t* p,
                                               const Vec<std::int32_t, A>& v) noexcept {
#if defined(__SSE2__)
  if constexpr (kAvx512<typename A::simd>) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  } else if constexpr (kAvx2<typename A::simd>) {
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  } else if constexpr (kSse41<typename A::simd>) {
    const __m128i words = _mm_packus_epi32(v, v);
    const std::int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    std::memcpy(p, &word, sizeof word);
  } else
#endif
  {
    alignas(64) std::int32_t lanes[kWidth<float, A>];
    v.store_aligned(lanes);
    for (Index i = 0; i < kWidth<float, A>; ++i) p[i] = static_cast<std::uint8_t>(lanes[i]);
  }
}

/// Stores the first n bytes, 0 <= n <= lanes, and touches nothing beyond them.
template <class A>
[[gnu::always_inline]] inline void store_bytes_partial(std::uint8_t* p,
                                                       const Vec<std::int32_t, A>& v,
                                                       Index n) noexcept {
  alignas(16) std::uint8_t bytes[kWidth<float, A>];
  store_bytes<A>(bytes, v);
  if (n > 0) std::memcpy(p, bytes, static_cast<std::size_t>(n));
}

}  // namespace weft::quant::detail
