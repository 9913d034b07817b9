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

}  // namespace weft::detail
