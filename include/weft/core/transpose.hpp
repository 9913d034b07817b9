#pragma once

#include <weft/core/lanes.hpp>

/// Transposition inside registers, by rounds of interleaving.
namespace weft::detail {

/// The lower and the upper half of the sequence a0, b0, a1, b1, ... of two registers. (xsimd 8
/// interleaves inside blocks of 128 bits only, so wider registers name their instructions.)
template <class T, class X, std::size_t Bytes = sizeof(xsimd::batch<T, X>)>
struct Interleave {
  using V = xsimd::batch<T, X>;
  static_assert(Bytes == 16, "interleaving of registers of this size is not written yet");
  static V low(const V& a, const V& b) noexcept { return xsimd::zip_lo(a, b); }
  static V high(const V& a, const V& b) noexcept { return xsimd::zip_hi(a, b); }
};

#if defined(__AVX__)
template <class X>
struct Interleave<float, X, 32> {
  static __m256 low(__m256 a, __m256 b) noexcept {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
  }
  static __m256 high(__m256 a, __m256 b) noexcept {
    return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
  }
};
template <class X>
struct Interleave<double, X, 32> {
  static __m256d low(__m256d a, __m256d b) noexcept {
    return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x20);
  }
  static __m256d high(__m256d a, __m256d b) noexcept {
    return _mm256_permute2f128_pd(_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b), 0x31);
  }
};
#endif

#if defined(__AVX512F__)
template <class X>
struct Interleave<float, X, 64> {
  static __m512 low(__m512 a, __m512 b) noexcept {
    const __m512i from = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    return _mm512_permutex2var_ps(a, from, b);
  }
  static __m512 high(__m512 a, __m512 b) noexcept {
    const __m512i from =
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    return _mm512_permutex2var_ps(a, from, b);
  }
};
template <class X>
struct Interleave<double, X, 64> {
  static __m512d low(__m512d a, __m512d b) noexcept {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
  }
  static __m512d high(__m512d a, __m512d b) noexcept {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
  }
};
#endif

/// Columns of N rows, one after the other: in, rows[r] holds element k of row r in lane k; out, the
/// N vectors read as one sequence hold element k of row r at k * N + r. N is a power of two; with
/// as many rows as lanes this is the transposition. Costs N log2(N) shuffles.
template <int N, class T, class X>
[[gnu::always_inline]] inline void interleave_rows(xsimd::batch<T, X> (&rows)[N]) noexcept {
  static_assert((N & (N - 1)) == 0);
#pragma GCC unroll 4
  for (int round = 1; round < N; round *= 2) {
    xsimd::batch<T, X> next[N];
#pragma GCC unroll 8
    for (int i = 0; i < N / 2; ++i) {
      next[2 * i] = Interleave<T, X>::low(rows[i], rows[i + N / 2]);
      next[2 * i + 1] = Interleave<T, X>::high(rows[i], rows[i + N / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) rows[i] = next[i];
  }
}

/// Sums of N registers of W lanes: with N = W lane r of the result is the sum of the lanes of
/// rows[r], with fewer lane k * N + r the sum of its lanes k, k + W / N, and so on. The rounds of
/// the transposition with the halves added at once: N - 1 additions.
template <int N, class T, class X>
[[gnu::always_inline]] inline xsimd::batch<T, X> sum_rows(xsimd::batch<T, X> (&rows)[N]) noexcept {
  static_assert(N <= xsimd::batch<T, X>::size);
#pragma GCC unroll 4
  for (int half = N / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; ++i)
      rows[i] = Interleave<T, X>::low(rows[i], rows[i + half]) +
                Interleave<T, X>::high(rows[i], rows[i + half]);
  return rows[0];
}

}  // namespace weft::detail
