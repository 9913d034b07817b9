#pragma once

#include <weft/core/simd.hpp>

#include <bit>

/// Small things about registers that every element-wise kernel needs.
namespace weft::detail {

/// Which of the x86 instruction sets a register architecture contains.
template <class Simd>
inline constexpr bool kAvx512 = std::is_base_of_v<xsimd::avx512f, Simd>;
template <class Simd>
inline constexpr bool kAvx2 = std::is_base_of_v<xsimd::avx2, Simd>;
template <class Simd>
inline constexpr bool kSse41 = std::is_base_of_v<xsimd::sse4_1, Simd>;

/// The same bits seen as lanes of U. (xsimd's own bitwise_cast changed its signature in version 9.)
template <class U, class T, class X>
[[gnu::always_inline]] inline xsimd::batch<U, X> reinterpret(const xsimd::batch<T, X>& v) noexcept {
  return std::bit_cast<xsimd::batch<U, X>>(v);
}

#if defined(__SSE2__)
/// One lane out of four (float) or two (double): f(f(a, b), f(c, d)).
template <class F>
[[gnu::always_inline]] inline float fold_register(__m128 v, F f) noexcept {
  v = f(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(f(v, _mm_shuffle_ps(v, v, 1)));
}
template <class F>
[[gnu::always_inline]] inline double fold_register(__m128d v, F f) noexcept {
  return _mm_cvtsd_f64(f(v, _mm_unpackhi_pd(v, v)));
}
#endif

/// Pairwise fold of all lanes. `f` works on a register of any width, so wide registers are halved
/// first. (xsimd 8 has no reduction but the sum, which it does not halve with AVX-512.)
template <class T, class X, class F>
[[gnu::always_inline]] inline T fold_lanes(const xsimd::batch<T, X>& v, F f) noexcept {
#if defined(__AVX512F__)
  if constexpr (kAvx512<X> && std::is_same_v<T, float>) {
    const __m512d d = _mm512_castps_pd(v);
    const __m256 half =
        f(_mm512_castps512_ps256(v), _mm256_castpd_ps(_mm512_extractf64x4_pd(d, 1)));
    return fold_register(f(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)), f);
  } else if constexpr (kAvx512<X>) {
    const __m256d half = f(_mm512_castpd512_pd256(v), _mm512_extractf64x4_pd(v, 1));
    return fold_register(f(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1)), f);
  } else
#endif
#if defined(__AVX__)
      if constexpr (std::is_base_of_v<xsimd::avx, X> && std::is_same_v<T, float>) {
    return fold_register(f(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)), f);
  } else if constexpr (std::is_base_of_v<xsimd::avx, X>) {
    return fold_register(f(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1)), f);
  } else
#endif
#if defined(__SSE2__)
    return fold_register(v, f);
#else
  T lanes[xsimd::batch<T, X>::size];
  v.store_unaligned(lanes);
  T folded = lanes[0];
  for (std::size_t i = 1; i < xsimd::batch<T, X>::size; ++i) folded = f(folded, lanes[i]);
  return folded;
#endif
}

struct AddRegisters {
#if defined(__SSE2__)
  __m128 operator()(__m128 a, __m128 b) const noexcept { return _mm_add_ps(a, b); }
  __m128d operator()(__m128d a, __m128d b) const noexcept { return _mm_add_pd(a, b); }
#endif
#if defined(__AVX__)
  __m256 operator()(__m256 a, __m256 b) const noexcept { return _mm256_add_ps(a, b); }
  __m256d operator()(__m256d a, __m256d b) const noexcept { return _mm256_add_pd(a, b); }
#endif
  template <class T>
    requires std::is_arithmetic_v<T>
  T operator()(T a, T b) const noexcept {
    return a + b;
  }
};

struct MaxRegisters {
#if defined(__SSE2__)
  __m128 operator()(__m128 a, __m128 b) const noexcept { return _mm_max_ps(a, b); }
  __m128d operator()(__m128d a, __m128d b) const noexcept { return _mm_max_pd(a, b); }
#endif
#if defined(__AVX__)
  __m256 operator()(__m256 a, __m256 b) const noexcept { return _mm256_max_ps(a, b); }
  __m256d operator()(__m256d a, __m256d b) const noexcept { return _mm256_max_pd(a, b); }
#endif
  template <class T>
    requires std::is_arithmetic_v<T>
  T operator()(T a, T b) const noexcept {
    return a < b ? b : a;
  }
};

/// Sum of all lanes.
template <class T, class X>
[[gnu::always_inline]] inline T sum_lanes(const xsimd::batch<T, X>& v) noexcept {
  return fold_lanes(v, AddRegisters{});
}

/// Largest lane; a NaN may be passed over.
template <class T, class X>
[[gnu::always_inline]] inline T max_lanes(const xsimd::batch<T, X>& v) noexcept {
  return fold_lanes(v, MaxRegisters{});
}

}  // namespace weft::detail
