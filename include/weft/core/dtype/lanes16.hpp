#pragma once

#include <weft/core/lanes.hpp>

#include <cstdint>

/// Vectors of 16-bit words, widened to one word per 32-bit lane and back: the only place where the
/// conversions of bf16 and fp16 name instructions.
namespace weft::detail {

/// Conversions of fp16 in hardware: part of AVX-512F, and beside AVX2 in every processor that has
/// it, though compilers know it as a flag of its own.
#if defined(__F16C__)
template <class A>
inline constexpr bool kHalfConversion = kAvx512<typename A::simd> || kAvx2<typename A::simd>;
#else
template <class A>
inline constexpr bool kHalfConversion = kAvx512<typename A::simd>;
#endif

/// Masked accesses to 16-bit words.
#if defined(__AVX512BW__) && defined(__AVX512VL__)
template <class A>
inline constexpr bool kMasked16 = std::is_base_of_v<xsimd::avx512bw, typename A::simd>;
#else
template <class A>
inline constexpr bool kMasked16 = false;
#endif

/// As many words as a register has 32-bit lanes, zero-extended.
template <class A>
[[gnu::always_inline]] inline Vec<std::uint32_t, A> load_words(const std::uint16_t* p) noexcept {
#if defined(__SSE2__)
  if constexpr (kAvx512<typename A::simd>) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  } else if constexpr (kAvx2<typename A::simd>) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  } else if constexpr (kSse41<typename A::simd>) {
    return _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  } else
#endif
  {
    alignas(64) std::uint32_t lanes[kWidth<float, A>];
    for (Index i = 0; i < kWidth<float, A>; ++i) lanes[i] = p[i];
    return Vec<std::uint32_t, A>::load_aligned(lanes);
  }
}

/// The lower halves of the lanes. The upper halves must be zero.
template <class A>
[[gnu::always_inline]] inline void store_words(std::uint16_t* p,
                                               const Vec<std::uint32_t, A>& v) noexcept {
#if defined(__SSE2__)
  if constexpr (kAvx512<typename A::simd>) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v));
  } else if constexpr (kAvx2<typename A::simd>) {
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0b1000);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  } else if constexpr (kSse41<typename A::simd>) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(v, v));
  } else
#endif
  {
    alignas(64) std::uint32_t lanes[kWidth<float, A>];
    v.store_aligned(lanes);
    for (Index i = 0; i < kWidth<float, A>; ++i) p[i] = static_cast<std::uint16_t>(lanes[i]);
  }
}

/// The first n words, 0 <= n <= lanes, and zeros; reads nothing beyond them.
template <class A>
[[gnu::always_inline]] inline Vec<std::uint32_t, A> load_words_partial(const std::uint16_t* p,
                                                                       Index n) noexcept {
  if constexpr (kMasked16<A>) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    const auto mask = static_cast<__mmask16>((1u << n) - 1u);
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, p));
#endif
  } else {
    alignas(64) std::uint16_t words[kWidth<float, A>] = {};
    if (n > 0) std::memcpy(words, p, static_cast<std::size_t>(n) * sizeof *p);
    return load_words<A>(words);
  }
}

/// Stores the first n words, 0 <= n <= lanes, and touches nothing beyond them.
template <class A>
[[gnu::always_inline]] inline void store_words_partial(std::uint16_t* p,
                                                       const Vec<std::uint32_t, A>& v,
                                                       Index n) noexcept {
  if constexpr (kMasked16<A>) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    _mm512_mask_cvtepi32_storeu_epi16(p, static_cast<__mmask16>((1u << n) - 1u), v);
#endif
  } else {
    alignas(64) std::uint16_t words[kWidth<float, A>];
    store_words<A>(words, v);
    if (n > 0) std::memcpy(p, words, static_cast<std::size_t>(n) * sizeof *p);
  }
}

}  // namespace weft::detail
