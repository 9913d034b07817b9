#pragma once

#include <weft/core/math/polynomial.hpp>

/// What all exponentials share: x = n + r (in units of ln 2 for e^x) with |r| <= 1/2, and the
/// scaling of a result by 2^n.
namespace weft::math::detail {

/// Integers n as floating-point numbers, and in the place of the exponent field.
template <FloatBatch V>
struct Powers {
  V n;
  IntBatch<V> field;
};

/// The nearest integers to t, |t| < 2^12. From NaN come any n and field.
template <FloatBatch V>
[[gnu::always_inline]] inline Powers<V> nearest_powers(const V& t) noexcept {
  if constexpr (kIsFloat<V>) {
    const IntBatch<V> n = xsimd::nearbyint_as_int(t);
    return {xsimd::to_float(n), n << 23};
  } else {
    // 1.5 * 2^52 + n has n in its low bits; before AVX-512 no instruction converts to int64.
    const V n = xsimd::nearbyint(t);
    return {n, reinterpret<std::int64_t>(n + V(0x1.8p52)) << 52};
  }
}

/// unit 2^n for a power of two as unit, n being in the exponent field and the result in the range
/// of normal numbers, or one power below: then 0.
template <FloatBatch V>
[[gnu::always_inline]] inline V power_of_two(const IntBatch<V>& field,
                                             const V& unit = V(1)) noexcept {
  return reinterpret<Element<V>>(field + reinterpret<Element<IntBatch<V>>>(unit));
}

/// v 2^n for |n| < 250 (double: 2000), right for denormals and infinity too. |v| may be anything
/// where n = 0, and must be in [2^-10, 2^10] elsewhere.
template <FloatBatch V>
[[gnu::always_inline]] inline V scale(const V& v, const Powers<V>& power) noexcept {
#if defined(__AVX512F__)
  if constexpr (kAvx512<typename V::arch_type> && kIsFloat<V>)
    return _mm512_scalef_ps(v, power.n);
  else if constexpr (kAvx512<typename V::arch_type>)
    return _mm512_scalef_pd(v, power.n);
  else
#endif
  {
    // In two steps, because one factor cannot reach denormals or infinity. Half of n is added to
    // the exponent rather than multiplied, so that no compiler joins the factors.
    const IntBatch<V> half = nearest_powers(power.n * V(0.5)).field;
    const V partial = reinterpret<Element<V>>(reinterpret<Element<IntBatch<V>>>(v) + half);
    const V scaled = partial * power_of_two<V>(power.field - half);
    if constexpr (kIsFloat<V>)
      return scaled;  // the field of NaN is 0
    else
      return xsimd::select(v == v, scaled, v);
  }
}

/// (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2; relative error of the e^r made from it 2^-28 (2^-57).
template <FloatBatch V>
[[gnu::always_inline]] inline V exp_tail(const V& r) noexcept {
  if constexpr (kIsFloat<V>)
    return horner(r, 0x1.694c8ep-10f, 0x1.12397ep-7f, 0x1.555a26p-5f, 0x1.555492p-3f,
                  0x1.fffffap-2f);
  else
    return horner(r, 0x1.ad92e88f87de4p-26, 0x1.28adfccab85d4p-22, 0x1.71df18ef7a9d3p-19,
                  0x1.a019995efb56cp-16, 0x1.a01a012fee98bp-13, 0x1.6c16c18477082p-10,
                  0x1.1111111126b36p-7, 0x1.55555555506bcp-5, 0x1.55555555554fep-3,
                  0x1.000000000000ap-1);
}

/// The parts of exp_tail that are even and odd in r, the odd one divided by r.
template <FloatBatch V>
[[gnu::always_inline]] inline void exp_tail_parts(const V& r, V& even, V& odd) noexcept {
  const V s = r * r;
  if constexpr (kIsFloat<V>) {
    even = horner(s, 0x1.694c8ep-10f, 0x1.555a26p-5f, 0x1.fffffap-2f);
    odd = horner(s, 0x1.12397ep-7f, 0x1.555492p-3f);
  } else {
    even = horner(s, 0x1.28adfccab85d4p-22, 0x1.a019995efb56cp-16, 0x1.6c16c18477082p-10,
                  0x1.55555555506bcp-5, 0x1.000000000000ap-1);
    odd = horner(s, 0x1.ad92e88f87de4p-26, 0x1.71df18ef7a9d3p-19, 0x1.a01a012fee98bp-13,
                 0x1.1111111126b36p-7, 0x1.55555555554fep-3);
  }
}

/// x = n ln 2 + r. The upper part of ln 2 has so few bits that its product with n is exact even
/// without fma.
template <FloatBatch V>
[[gnu::always_inline]] inline Powers<V> reduce_exp(const V& x, V& r) noexcept {
  const Powers<V> power = nearest_powers(x * constant<V>(0x1.715476p0f, 0x1.71547652b82fep0));
  r = mul_add(power.n, constant<V>(-0x1.62e4p-1f, -0x1.62e42fefa38p-1), x);
  r = mul_add(power.n, constant<V>(-0x1.7f7d1cp-20f, -0x1.ef35793c7673p-45), r);
  return power;
}

/// Keeps x where its power of two can be scaled by. At the ends e^x is infinite, and so small that
/// even 100 e^x is 0.
template <FloatBatch V>
[[gnu::always_inline]] inline V clamp_exp(const V& x) noexcept {
  return at_most(constant<V>(89.5f, 710.5), at_least(constant<V>(-115.f, -760.), x));
}

/// e^(x + correction) = result 2^n, for a correction of a few percent at most.
template <FloatBatch V>
[[gnu::always_inline]] inline V exp_fraction(const V& x, const V& correction,
                                             Powers<V>& power) noexcept {
  V r;
  power = reduce_exp(clamp_exp(x), r);
  r = r + correction;
  return mul_add(mul_add(exp_tail(r), r, V(1)), r, V(1));
}

}  // namespace weft::math::detail
