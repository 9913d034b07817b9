#pragma once

#include <weft/core/lanes.hpp>

#include <cstdint>

/// Bytes in memory, 32-bit lanes in registers: one register of them at a time, or its first n
/// lanes (0 <= n <= width; what is not loaded is zero, and no memory beyond them is touched).
namespace weft {

namespace detail {

/// A register through an array: what the compiler makes of it is good where it knows the shuffles.
template <class A, class B>
[[gnu::always_inline]] inline Vec<std::int32_t, A> widen(const B* p, Index n) noexcept {
  alignas(64) std::int32_t lanes[kWidth<std::int32_t, A>] = {};
  for (Index i = 0; i < n; ++i) lanes[i] = p[i];
  return Vec<std::int32_t, A>::load_aligned(lanes);
}

}  // namespace detail

/// B is std::uint8_t or std::int8_t.
template <class A, class B>
[[gnu::always_inline]] inline Vec<std::int32_t, A> load_bytes(const B* p) noexcept {
  static_assert(sizeof(B) == 1);
  constexpr bool kSigned = std::is_signed_v<B>;
#if defined(__AVX512F__)
  if constexpr (kWidth<float, A> == 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return kSigned ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
  } else
#endif
#if defined(__AVX2__)
      if constexpr (kWidth<float, A> == 8 && detail::kAvx2<typename A::simd>) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return kSigned ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
  } else
#endif
#if defined(__SSE4_1__)
      if constexpr (kWidth<float, A> == 4 && detail::kSse41<typename A::simd>) {
    std::int32_t word;
    std::memcpy(&word, p, 4);
    const __m128i bytes = _mm_cvtsi32_si128(word);
    return kSigned ? _mm_cvtepi8_epi32(bytes) : _mm_cvtepu8_epi32(bytes);
  } else
#endif
    return detail::widen<A>(p, kWidth<float, A>);
}

template <class A, class B>
[[gnu::always_inline]] inline Vec<std::int32_t, A> load_bytes_partial(const B* p,
                                                                      Index n) noexcept {
  B bytes[kWidth<float, A>] = {};
  if (n > 0) std::memcpy(bytes, p, static_cast<std::size_t>(n));
  return load_bytes<A>(static_cast<const B*>(bytes));
}

/// The lowest byte of every lane.
template <class A, class B, class X>
[[gnu::always_inline]] inline void store_bytes(B* p,
                                               const xsimd::batch<std::int32_t, X>& v) noexcept {
  static_assert(sizeof(B) == 1 && std::is_same_v<X, typename A::simd>);
#if defined(__AVX512F__)
  if constexpr (kWidth<float, A> == 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  } else
#endif
#if defined(__SSE2__)
      if constexpr (kWidth<float, A> == 8 && detail::kAvx2<typename A::simd>) {
    const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
  } else if constexpr (kWidth<float, A> == 4 && detail::kSse41<typename A::simd>) {
    const __m128i low = _mm_and_si128(v, _mm_set1_epi32(0xff));
    const __m128i words = _mm_packus_epi32(low, low);
    const std::int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    std::memcpy(p, &word, sizeof word);
  } else
#endif
  {
    alignas(64) std::int32_t lanes[kWidth<float, A>];
    v.store_aligned(lanes);
    for (Index i = 0; i < kWidth<float, A>; ++i) p[i] = static_cast<B>(lanes[i]);
  }
}

template <class A, class B, class X>
[[gnu::always_inline]] inline void store_bytes_partial(B* p, const xsimd::batch<std::int32_t, X>& v,
                                                       Index n) noexcept {
  B bytes[kWidth<float, A>];
  store_bytes<A>(bytes, v);
  if (n > 0) std::memcpy(p, bytes, static_cast<std::size_t>(n));
}

}  // namespace weft
