#pragma once

#include <weft/core/math/polynomial.hpp>

#include <limits>

/// Natural logarithm. Errors are listed in core/math.hpp.
namespace weft::math {

namespace detail {

/// log(1 + f) + k ln 2 for 1 + f in [sqrt(1/2), sqrt(2)], exact in f = 0 and accurate around it.
///
/// With s = f / (2 + f): log(1 + f) = 2 atanh(s) = f - f^2 / 2 + s (f^2 / 2 + R(s^2)), where only
/// the last term, at most a tenth of the sum, carries rounding errors of its own.
template <FloatBatch V>
[[gnu::always_inline]] inline V log1p_plus(const V& f, const V& k) noexcept {
  const V s = f / (f + V(2));
  const V z = s * s;
  V tail;
  if constexpr (kIsFloat<V>)
    tail = horner(z, 0x1.2ef5dcp-2f, 0x1.997bap-2f, 0x1.55555cp-1f);
  else
    tail = horner(z, 0x1.2b5958e1b8a9fp-3, 0x1.39fe4d7606ab8p-3, 0x1.7462b5147d4fdp-3,
                  0x1.c71c62e51dd4cp-3, 0x1.2492492defcd8p-2, 0x1.999999999531bp-2,
                  0x1.5555555555558p-1);
  const V half_square = V(0.5) * f * f;
  const V low = k * constant<V>(0x1.7f7d1cp-20f, 0x1.ef35793c7673p-45);
  const V small = mul_add(s, mul_add(z, tail, half_square), low) - half_square;
  return mul_add(k, constant<V>(0x1.62e4p-1f, 0x1.62e42fefa38p-1), f + small);
}

}  // namespace detail

/// ln x. 0 gives -infinity, negative numbers and NaN give NaN; denormals are right.
template <FloatBatch V>
[[gnu::always_inline]] inline V log(const V& x) noexcept {
  using T = detail::Element<V>;
  using Word = xsimd::as_unsigned_integer_t<T>;
  using Words = xsimd::batch<Word, typename V::arch_type>;
  using Limits = std::numeric_limits<T>;
  constexpr int kFraction = Limits::digits - 1;
  constexpr T kTwoToFraction = static_cast<T>(Word{1} << kFraction);
  constexpr Word kOne = std::bit_cast<Word>(T(1));
  constexpr Word kRootHalf = std::bit_cast<Word>(T(0.70710678118654752440));

  // x = 2^k m with m in [sqrt(1/2), sqrt(2)): counted from sqrt(1/2), the exponent field is k +
  // bias.
  const auto denormal = x < V(Limits::min());
  const V normal = xsimd::select(denormal, x * V(kTwoToFraction), x);
  const Words shifted = detail::reinterpret<Word>(normal) + Words(kOne - kRootHalf);
  const Words fraction = shifted & Words((Word{1} << kFraction) - 1);
  const V m = detail::reinterpret<T>(fraction + Words(kRootHalf));

  // An integer below 2^fraction becomes a number when it is put into the fraction of 2^fraction.
  const Words field = (shifted >> kFraction) | Words(std::bit_cast<Word>(kTwoToFraction));
  const V scale = xsimd::select(denormal, V(kFraction), V(0));
  const V k = detail::reinterpret<T>(field) - V(kTwoToFraction + Limits::max_exponent - 1) - scale;

  const V finite = detail::log1p_plus(m - V(1), k);
  const V edge = xsimd::select(x == V(0), V(-Limits::infinity()), V(Limits::quiet_NaN()));
  return xsimd::select(x > V(0), xsimd::select(x < V(Limits::infinity()), finite, x), edge);
}

}  // namespace weft::math
