#pragma once

#include <weft/core/lanes.hpp>

#include <concepts>

namespace weft::math {

/// A register of floats or doubles.
template <class V>
concept FloatBatch = std::same_as<V, xsimd::batch<typename V::value_type, typename V::arch_type>> &&
                     std::floating_point<typename V::value_type>;

namespace detail {

using weft::detail::kAvx512;
using weft::detail::reinterpret;

template <class V>
using Element = typename V::value_type;

/// Integer lanes of the same width.
template <class V>
using IntBatch = xsimd::batch<xsimd::as_integer_t<Element<V>>, typename V::arch_type>;

template <class V>
inline constexpr bool kIsFloat = std::same_as<Element<V>, float>;

/// A constant that differs by element type.
template <FloatBatch V>
[[gnu::always_inline]] inline V constant(float in_float, double in_double) noexcept {
  if constexpr (kIsFloat<V>)
    return V(in_float);
  else
    return V(in_double);
}

/// The polynomial in x with the given coefficients, highest power first.
template <FloatBatch V, class... Coefficients>
[[gnu::always_inline]] inline V horner(const V& x, Element<V> highest,
                                       Coefficients... lower) noexcept {
  V sum(highest);
  ((sum = mul_add(sum, x, V(lower))), ...);
  return sum;
}

/// Larger and smaller of a limit and x. A NaN in x stays, because the x86 instructions return their
/// second operand then.
template <FloatBatch V>
[[gnu::always_inline]] inline V at_least(const V& limit, const V& x) noexcept {
  return xsimd::max(limit, x);
}
template <FloatBatch V>
[[gnu::always_inline]] inline V at_most(const V& limit, const V& x) noexcept {
  return xsimd::min(limit, x);
}

/// a / b to 2 ulp, for b in [1, 2^1000] (float: 2^120).
template <FloatBatch V>
[[gnu::always_inline]] inline V quotient(const V& a, const V& b) noexcept {
#if defined(__AVX512F__)
  // A division of 16 floats takes as long as 20 to 30 other instructions; an estimate has 14 bits,
  // which a step of Newton doubles.
  if constexpr (kAvx512<typename V::arch_type> && kIsFloat<V>) {
    const V estimate = _mm512_rcp14_ps(b);
    const V near = a * estimate;
    return mul_add(near, mul_add(-b, estimate, V(1)), near);
  }
#endif
  return a / b;
}

/// a^2 = result + low with an exact result: the square of the upper half of a's bits.
template <FloatBatch V>
[[gnu::always_inline]] inline V split_square(const V& a, V& low) noexcept {
  using Word = Element<IntBatch<V>>;
  constexpr Word kUpperHalf = static_cast<Word>(kIsFloat<V> ? -0x1000 : -0x8000000);
  const V upper = reinterpret<Element<V>>(reinterpret<Word>(a) & IntBatch<V>(kUpperHalf));
  low = (a - upper) * (a + upper);
  return upper * upper;
}

}  // namespace detail
}  // namespace weft::math
