#pragma once

#include <weft/core/lanes.hpp>

/// Transposition inside registers, by rounds of interleaving.
namespace weft::detail {

#if defined(__AVX512F__)
template <class T, class X>
inline constexpr bool kZipByPermute = kAvx512<X> && (sizeof(T) == 4 || sizeof(T) == 8);
#else
template <class T, class X>
inline constexpr bool kZipByPermute = false;
#endif

/// (a0, b0, a1, b1, ...): the lower half of the interleaved sequence. (xsimd 8 stays inside blocks
/// of 128 bits with AVX-512.)
template <class T, class X>
[[gnu::always_inline]] inline xsimd::batch<T, X> interleave_low(
    const xsimd::batch<T, X>& a, const xsimd::batch<T, X>& b) noexcept {
#if defined(__AVX512F__)
  if constexpr (kZipByPermute<T, X> && sizeof(T) == 4)
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
  else if constexpr (kZipByPermute<T, X>)
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
  else
#endif
    return xsimd::zip_lo(a, b);
}

/// The upper half of the interleaved sequence.
template <class T, class X>
[[gnu::always_inline]] inline xsimd::batch<T, X> interleave_high(
    const xsimd::batch<T, X>& a, const xsimd::batch<T, X>& b) noexcept {
#if defined(__AVX512F__)
  if constexpr (kZipByPermute<T, X> && sizeof(T) == 4)
    return _mm512_permutex2var_ps(
        a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
  else if constexpr (kZipByPermute<T, X>)
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
  else
#endif
    return xsimd::zip_hi(a, b);
}

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
      next[2 * i] = interleave_low(rows[i], rows[i + N / 2]);
      next[2 * i + 1] = interleave_high(rows[i], rows[i + N / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < N; ++i) rows[i] = next[i];
  }
}

}  // namespace weft::detail
