#pragma once

#include <weft/core/check.hpp>

// g++ 12 warns of the operands that its AVX-512 intrinsics leave undefined on purpose.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#include <xsimd/xsimd.hpp>
#pragma GCC diagnostic pop

#include <cstring>
#include <type_traits>

/// The register level: which instruction set, which vectors, partial loads and stores.
///
/// Every function compiled for an instruction set takes an `Arch` template parameter, so that code
/// for several instruction sets can live in one program (see weft_add_dispatch).
namespace weft {

/// An instruction set: xsimd's register architecture, and the dot products that xsimd does not
/// know.
template <class Simd, bool DotBf16 = false, bool DotInt8 = false, bool TileBf16 = false,
          bool TileInt8 = false>
struct Arch {
  using simd = Simd;
  static constexpr bool dot_bf16 = DotBf16;    ///< AVX-512 BF16: pairs of bf16 into fp32
  static constexpr bool dot_int8 = DotInt8;    ///< AVX-512 VNNI: quadruples of u8 x s8 into int32
  static constexpr bool tile_bf16 = TileBf16;  ///< AMX: 16 x 16 tiles of bf16 into fp32
  static constexpr bool tile_int8 = TileInt8;  ///< AMX: 16 x 16 tiles of 8-bit integers into int32
};

#if defined(__AVX512BF16__)
inline constexpr bool kHasDotBf16 = true;
#else
inline constexpr bool kHasDotBf16 = false;
#endif
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
inline constexpr bool kHasDotInt8 = true;
#else
inline constexpr bool kHasDotInt8 = false;
#endif
#if defined(__AMX_BF16__) && defined(__AMX_TILE__)
inline constexpr bool kHasTileBf16 = true;
#else
inline constexpr bool kHasTileBf16 = false;
#endif
#if defined(__AMX_INT8__) && defined(__AMX_TILE__)
inline constexpr bool kHasTileInt8 = true;
#else
inline constexpr bool kHasTileInt8 = false;
#endif

/// What the compiler targets.
using DefaultArch = Arch<xsimd::default_arch, kHasDotBf16, kHasDotInt8, kHasTileBf16, kHasTileInt8>;

/// A register of T (float, double or an integer type).
template <class T, class A = DefaultArch>
using Vec = xsimd::batch<T, typename A::simd>;

/// Lanes of such a register that are switched on.
template <class T, class A = DefaultArch>
using Lanes = xsimd::batch_bool<T, typename A::simd>;

template <class T, class A = DefaultArch>
inline constexpr Index kWidth = static_cast<Index>(Vec<T, A>::size);

/// Number of vector registers: 32 with AVX-512, 16 before.
template <class A>
inline constexpr int kRegisters = kWidth<float, A> == 16 ? 32 : 16;

/// The accumulator of an element type: fp64 for fp64, fp32 for everything else.
template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

constexpr Index round_up(Index n, Index multiple) noexcept {
  return (n + multiple - 1) / multiple * multiple;
}
constexpr Index ceil_div(Index n, Index d) noexcept { return (n + d - 1) / d; }

namespace detail {

/// Masked memory access of float and double, which xsimd 8 does not have; lanes switched off never
/// touch memory.
template <class T, class A>
struct Masked;

#if defined(__AVX512F__)
template <class A>
  requires(kWidth<float, A> == 16)
struct Masked<float, A> {
  static __mmask16 first(Index n) noexcept { return static_cast<__mmask16>((1u << n) - 1u); }
  static __m512 load(const float* p, Index n) noexcept {
    return _mm512_maskz_loadu_ps(first(n), p);
  }
  static void store(float* p, __m512 v, Index n) noexcept { _mm512_mask_storeu_ps(p, first(n), v); }
};
template <class A>
  requires(kWidth<double, A> == 8)
struct Masked<double, A> {
  static __mmask8 first(Index n) noexcept { return static_cast<__mmask8>((1u << n) - 1u); }
  static __m512d load(const double* p, Index n) noexcept {
    return _mm512_maskz_loadu_pd(first(n), p);
  }
  static void store(double* p, __m512d v, Index n) noexcept {
    _mm512_mask_storeu_pd(p, first(n), v);
  }
};
#endif

#if defined(__AVX2__)
template <class A>
  requires(kWidth<float, A> == 8 && std::is_base_of_v<xsimd::avx2, typename A::simd>)
struct Masked<float, A> {
  static __m256i first(Index n) noexcept {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m256 load(const float* p, Index n) noexcept { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, __m256 v, Index n) noexcept { _mm256_maskstore_ps(p, first(n), v); }
};
template <class A>
  requires(kWidth<double, A> == 4 && std::is_base_of_v<xsimd::avx2, typename A::simd>)
struct Masked<double, A> {
  static __m256i first(Index n) noexcept {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static __m256d load(const double* p, Index n) noexcept { return _mm256_maskload_pd(p, first(n)); }
  static void store(double* p, __m256d v, Index n) noexcept { _mm256_maskstore_pd(p, first(n), v); }
};
#endif

template <class T, class A>
concept HasMasks = requires(T* p) { Masked<T, A>::load(p, Index{}); };

}  // namespace detail

template <class A, class T>
[[gnu::always_inline]] inline Vec<T, A> load(const T* p) noexcept {
  return Vec<T, A>::load_unaligned(p);
}
template <class A, class T, class X>
[[gnu::always_inline]] inline void store(T* p, const xsimd::batch<T, X>& v) noexcept {
  static_assert(std::is_same_v<X, typename A::simd>);
  v.store_unaligned(p);
}

/// a b + c with one rounding where the hardware has it. (xsimd 8 multiplies and adds with AVX-512,
/// which only some compilers then contract.)
template <class T, class X>
[[gnu::always_inline]] inline xsimd::batch<T, X> mul_add(const xsimd::batch<T, X>& a,
                                                         const xsimd::batch<T, X>& b,
                                                         const xsimd::batch<T, X>& c) noexcept {
#if defined(__AVX512F__)
  if constexpr (sizeof(xsimd::batch<T, X>) == 64 && std::is_same_v<T, float>)
    return _mm512_fmadd_ps(a, b, c);
  else if constexpr (sizeof(xsimd::batch<T, X>) == 64 && std::is_same_v<T, double>)
    return _mm512_fmadd_pd(a, b, c);
  else
#endif
    return xsimd::fma(a, b, c);
}

/// Has v in a register from here on. Without it compilers may repeat a load in every instruction
/// that reads its result, and where a vector is used often there are more loads than a core carries
/// out.
template <class T, class X>
[[gnu::always_inline]] inline void keep_in_register(xsimd::batch<T, X>& v) noexcept {
#if defined(__x86_64__)
  asm("" : "+v"(v.data));
#else
  (void)v;
#endif
}

/// The first n lanes from memory, 0 <= n <= width, and zeros; reads nothing beyond them. For n = 0
/// the pointer may be null, here and below.
template <class A, class T>
[[gnu::always_inline]] inline Vec<T, A> load_partial(const T* p, Index n) noexcept {
  if constexpr (detail::HasMasks<T, A>) {
    return detail::Masked<T, A>::load(p, n);
  } else {
    alignas(64) T lanes[kWidth<T, A>] = {};
    if (n > 0) std::memcpy(lanes, p, static_cast<std::size_t>(n) * sizeof(T));
    return Vec<T, A>::load_aligned(lanes);
  }
}

/// Stores the first n lanes, 0 <= n <= width, and touches nothing beyond them.
template <class A, class T, class X>
[[gnu::always_inline]] inline void store_partial(T* p, const xsimd::batch<T, X>& v,
                                                 Index n) noexcept {
  if constexpr (detail::HasMasks<T, A>) {
    detail::Masked<T, A>::store(p, v, n);
  } else {
    alignas(64) T lanes[kWidth<T, A>];
    v.store_aligned(lanes);
    if (n > 0) std::memcpy(p, lanes, static_cast<std::size_t>(n) * sizeof(T));
  }
}

}  // namespace weft
