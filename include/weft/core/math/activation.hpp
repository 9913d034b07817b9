#pragma once

#include <weft/core/math/erf.hpp>
#include <weft/core/math/exp.hpp>
#include <weft/core/math/log.hpp>

/// Activation functions. All keep NaN, take their limits at +-infinity, and stay accurate where
/// their results are small. Errors are listed in core/math.hpp.
namespace weft::math {

/// max(x, 0).
template <FloatBatch V>
[[gnu::always_inline]] inline V relu(const V& x) noexcept {
  return detail::at_least(V(0), x);
}

/// tanh x. Odd, also in the sign of zero.
template <FloatBatch V>
[[gnu::always_inline]] inline V tanh(const V& x) noexcept {
  const V a = xsimd::abs(x);
  const V z = a * a;
  V factor;  // (tanh(a) - a) / a^3
  if constexpr (detail::kIsFloat<V>)
    factor = detail::horner(z, -0x1.afcc66p-8f, 0x1.5ce6b4p-6f, -0x1.b999a2p-5f, 0x1.110fc6p-3f,
                            -0x1.555554p-2f);
  else
    factor = detail::horner(z, 0x1.a28afa338adf9p-18, -0x1.02e317e6b2c74p-15, 0x1.837934f5d1edp-14,
                            -0x1.f224d2bbbc662p-13, 0x1.35257ec0c2bbp-11, -0x1.7d9f54e2687b4p-10,
                            0x1.d6d398e58ccf6p-9, -0x1.226e34626cfc1p-7, 0x1.664f487d46be7p-6,
                            -0x1.ba1ba1ba0a8c6p-5, 0x1.111111111104bp-3, -0x1.5555555555555p-2);
  const V small = mul_add(a * z, factor, a);

  // 1 - 2 / (e^2a + 1), which is 1 to the last bit from the limit on.
  const V e = math::exp(detail::at_most(detail::constant<V>(19.f, 39.), V(2) * a));
  const V large = V(1) - V(2) / (e + V(1));
  const V half_at = detail::constant<V>(0.55f, 0.55);
  return xsimd::copysign(xsimd::select(a < half_at, small, large), x);
}

/// tanh x as a quotient of polynomials: a third of the instructions of tanh, and 4 ulp of error
/// instead of 1.5 (float; for double it is tanh). For logits, which are not exact themselves. Odd,
/// x for small x, and exactly +-1 from 9 on.
template <FloatBatch V>
[[gnu::always_inline]] inline V tanh_quotient(const V& x) noexcept {
  if constexpr (!detail::kIsFloat<V>) {
    return tanh(x);
  } else {
    const V a = detail::at_most(V(9.f), detail::at_least(V(-9.f), x));
    const V z = a * a;
    const V above =
        detail::horner(z, 0x1.c9a43ep-27f, 0x1.59557ep-16f, 0x1.c9f866p-9f, 0x1.120444p-3f, 1.f);
    const V below =
        detail::horner(z, 0x1.a0b8aap-21f, 0x1.5841e8p-12f, 0x1.a7df3p-6f, 0x1.de5768p-2f, 1.f);
    return a * above / below;
  }
}

namespace detail {

/// f sigmoid(z) for e^-|z| = fraction 2^n, where f is finite and z has the sign of x. The power
/// comes last, so that a denormal result is rounded only once.
template <FloatBatch V>
[[gnu::always_inline]] inline V times_sigmoid(const V& f, const V& x, const V& fraction,
                                              const Powers<V>& power) noexcept {
  const V t = scale(fraction, power);
  return xsimd::select(x < V(0), scale(f * fraction, power), f) / (V(1) + t);
}

}  // namespace detail

/// 1 / (1 + e^-x).
template <FloatBatch V>
[[gnu::always_inline]] inline V sigmoid(const V& x) noexcept {
  const V t = math::exp(-xsimd::abs(x));  // cannot overflow
  return xsimd::select(x < V(0), t, V(1)) / (V(1) + t);
}

/// 1 / (1 + 2^-x), the sigmoid in units of log 2, where results are weights: exactly 0 below -100.5
/// (double: -900.5), see exp2_nonpositive, and half the instructions.
template <FloatBatch V>
[[gnu::always_inline]] inline V sigmoid2(const V& x) noexcept {
  // That power is right up to these limits, where the quotient has long been 1.
  const V t = math::exp2_nonpositive(detail::at_most(detail::constant<V>(90.f, 800.), x));
  return detail::quotient(t, V(1) + t);
}

/// ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
template <FloatBatch V>
[[gnu::always_inline]] inline V softplus(const V& x) noexcept {
  const V t = math::exp(-xsimd::abs(x));
  const auto large = t > detail::constant<V>(0x1.a8279ap-2f, 0x1.a827999fcef32p-2);  // sqrt(2) - 1
  const V f = xsimd::select(large, (t - V(1)) * V(0.5), t);
  const V k = xsimd::select(large, V(1), V(0));
  return detail::at_least(V(0), x) + detail::log1p_plus(f, k);
}

/// x sigmoid(x), also called swish.
template <FloatBatch V>
[[gnu::always_inline]] inline V silu(const V& x) noexcept {
  const V finite =
      detail::at_least(detail::constant<V>(-115.f, -760.), x);  // the result is 0 there
  detail::Powers<V> power;
  const V fraction = detail::exp_fraction(-xsimd::abs(finite), V(0), power);
  return detail::times_sigmoid(finite, x, fraction, power);
}

/// x Phi(x), Phi being the normal distribution function: the GELU of arXiv:1606.08415.
template <FloatBatch V>
[[gnu::always_inline]] inline V gelu_erf(const V& x) noexcept {
  const V limit = detail::constant<V>(15.f, 39.);  // a e^(-a^2 / 2) has underflown there
  const V a = detail::at_most(limit, xsimd::abs(x));
  // In two numbers, because the last bit of a large a^2 would be dozens of last bits of the power.
  V square_low;
  const V square = detail::split_square(a, square_low);
  detail::Powers<V> power;
  const V fraction = detail::exp_fraction(V(-0.5) * square, V(-0.5) * square_low, power);
  // x Phi(x) = max(x, 0) - a Phi(-a)
  const V tail = detail::scale(a * detail::normal_tail_ratio(a) * fraction, power);
  return detail::at_least(V(0), x) - tail;
}

/// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), the approximation of gelu_erf.
///
/// That is x sigmoid(z) with z = 2 sqrt(2 / pi) 0.044715 x (x^2 + 1 / 0.044715). The error of z
/// would be multiplied by z in e^-z, so z is computed in two numbers.
template <FloatBatch V>
[[gnu::always_inline]] inline V gelu_tanh(const V& x) noexcept {
  const V limit = detail::constant<V>(12.f, 23.);  // a e^-z has underflown there
  const V a = detail::at_most(limit, xsimd::abs(x));
  const V slope = detail::constant<V>(0x1.2444f2p-4f, 0x1.2444f2a4d8b4bp-4);
  const V slope_low = detail::constant<V>(0x1.49b16ap-29f, -0x1.6c843a29d1c7p-61);
  const V offset = detail::constant<V>(0x1.65d25ep4f, 0x1.65d25edd9ed82p4);
  const V offset_low = detail::constant<V>(0x1.bb3dbp-21f, -0x1.586cc71ee31dep-55);

  V square_low;
  const V square = detail::split_square(a, square_low);
  // sum + sum_low = square + offset exactly (Knuth's two-sum), then the lower parts.
  const V sum = square + offset;
  const V part = sum - square;
  const V sum_low = (square - (sum - part)) + (offset - part) + (square_low + offset_low);
  const V steepness = slope * a;
  const V steepness_low = mul_add(slope_low, a, mul_add(slope, a, -steepness));
  const V z = steepness * sum;
  const V z_low =
      mul_add(steepness, sum_low, mul_add(steepness_low, sum, mul_add(steepness, sum, -z)));

  detail::Powers<V> power;
  const V fraction = detail::exp_fraction(-z, -z_low, power);
  return detail::times_sigmoid(detail::at_least(-limit, x), x, fraction, power);
}

}  // namespace weft::math
