#pragma once

#include <weft/core/math/exponent.hpp>

/// Exponentials. Their errors are listed in core/math.hpp.
namespace weft::math {

/// e^x. Overflow gives infinity, underflow denormals and then 0; NaN stays NaN.
template <FloatBatch V>
[[gnu::always_inline]] inline V exp(const V& x) noexcept {
  V r;
  const auto power = detail::reduce_exp(detail::clamp_exp(x), r);
  const V inner = mul_add(detail::exp_tail(r), r, V(1));
  return detail::scale(mul_add(inner, r, V(1)), power);
}

/// e^x and e^-x for |x| <= 80 (double: 700), for little more than the price of one of them; NaN
/// gives NaN, and what lies beyond these limits anything.
template <FloatBatch V>
[[gnu::always_inline]] inline void exp_both(const V& x, V& plus, V& minus) noexcept {
  V r, even, odd;
  const auto power = detail::reduce_exp(x, r);
  detail::exp_tail_parts(r, even, odd);
  const V s = r * r, cosh = mul_add(even, s, V(1)), sinh = mul_add(odd * s, r, r);
  plus = (cosh + sinh) * detail::power_of_two<V>(power.field);
  minus = (cosh - sinh) * detail::power_of_two<V>(-power.field);
}

/// 2^x, with the same edges; exact at integers.
template <FloatBatch V>
[[gnu::always_inline]] inline V exp2(const V& x) noexcept {
  if constexpr (detail::kIsFloat<V>) {
    const V t = detail::at_most(V(129.f), detail::at_least(V(-151.f), x));
    const auto power = detail::nearest_powers(t);
    const V p = detail::horner(t - power.n, 0x1.3fa206p-13f, 0x1.5f0b82p-10f, 0x1.3b30ap-7f,
                               0x1.c6af76p-5f, 0x1.ebfbd8p-3f, 0x1.62e43p-1f, 1.f);
    return detail::scale(p, power);
  } else {
    const V t = detail::at_most(V(1025.), detail::at_least(V(-1076.), x));
    const auto power = detail::nearest_powers(t);
    const V p = detail::horner(
        t - power.n, 0x1.e9731780488cp-32, 0x1.e61d4332035bap-28, 0x1.b52522bc20bcdp-24,
        0x1.62bfc6596be6ap-20, 0x1.ffcbfc6685ee5p-17, 0x1.4309130f6cbdbp-13, 0x1.5d87fe789e96fp-10,
        0x1.3b2ab6fb9fda6p-7, 0x1.c6b08d704a12cp-5, 0x1.ebfbdff82c5a6p-3, 0x1.62e42fefa39efp-1, 1.);
    return detail::scale(p, power);
  }
}

/// 2^x for x <= 0, which is what softmax needs after subtracting the maximum, in twelve
/// instructions (float). Exactly 1 at 0, exactly 0 below -100.5 (double: -900.5) down to -infinity;
/// NaN stays NaN. It ends that early because processors take a hundred cycles for every denormal
/// number, and a weight below 2^-100 makes them of all values below 2^-26, not of the least only.
template <FloatBatch V>
[[gnu::always_inline]] inline V exp2_nonpositive(const V& x) noexcept {
  const V t = detail::at_least(detail::constant<V>(-101.f, -901.), x);
  const auto power = detail::nearest_powers(t);
  const V r = t - power.n;
  // 2^(r + 26) times 2^(n - 26): the exponent field of the least of these is 0, and makes it 0.
  V p;
  if constexpr (detail::kIsFloat<V>)
    p = detail::horner(r, 0x1.5bfd58p16f, 0x1.3ceaf8p19f, 0x1.c6b69ap21f, 0x1.ebf9bap23f,
                       0x1.62e42ap25f, 0x1p26f);
  else
    p = detail::horner(r, 0x1.e3a8908819ee9p94, 0x1.b671af6e9ace6p98, 0x1.62c147edea337p102,
                       0x1.ffcb58ce7eb4dp105, 0x1.4309126be05f9p109, 0x1.5d87fe9b8d2a2p112,
                       0x1.3b2ab6fbd6dbep115, 0x1.c6b08d703e18ep117, 0x1.ebfbdff82c431p119,
                       0x1.62e42fefa3a12p121, 0x1p122);
  return p * detail::power_of_two<V>(power.field, detail::constant<V>(0x1p-26f, 0x1p-122));
}

}  // namespace weft::math
