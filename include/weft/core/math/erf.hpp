#pragma once

#include <weft/core/math/exp.hpp>

/// Error function. Errors are listed in core/math.hpp.
namespace weft::math {

namespace detail {

/// Phi(-a) e^(a^2 / 2) for a >= 0, Phi being the normal distribution function: it falls smoothly
/// from 1/2 like 1 / a, and so is u = c / (c + a) times a polynomial in u.
template <FloatBatch V>
[[gnu::always_inline]] inline V normal_tail_ratio(const V& a) noexcept {
  const V c = constant<V>(4.f, 6.);
  const V sum = a + c;
  const V u = c / sum;
  V factor;
  if constexpr (kIsFloat<V>)
    factor =
        horner(u, 0x1.1b38dp-6f, -0x1.114cbp-4f, 0x1.f4e0d8p-5f, 0x1.f8f1e2p-7f, 0x1.87808cp-6f,
               0x1.497bfep-4f, 0x1.300e5ap-4f, 0x1.85303cp-4f, 0x1.97c76cp-4f, 0x1.988db2p-4f);
  else
    factor = horner(
        u, -0x1.f17277c808674p-11, 0x1.4723d579b092ep-7, -0x1.7eba00512b684p-5,
        0x1.05f6c784048fdp-3, -0x1.d3a69eb6beceap-3, 0x1.21714fc5a2bccp-2, -0x1.fef6ccbd87f81p-3,
        0x1.3034c6e9ba70dp-3, -0x1.7a2cb8d536695p-5, -0x1.188889a6e2967p-7, 0x1.0b73d8071d7a4p-5,
        -0x1.f9ddbf22af792p-8, 0x1.b867a49582bf7p-6, 0x1.62aba7343eb8cp-6, 0x1.1546d518b5733p-5,
        0x1.4ee7f977f7d94p-5, 0x1.8ff1d52669acbp-5, 0x1.c72338a4583b8p-5, 0x1.f34d199d3affcp-5,
        0x1.08c785cf0214bp-4, 0x1.105837b27a03cp-4, 0x1.1058377d467dp-4);
  // Rounding has moved u by a relative error, which the ratio takes over about 1/2 + 2/3 c u times.
  const V sum_error = a - (sum - c);
  const V u_error = mul_add(-u, sum_error, mul_add(-u, sum, c));
  const V correction =
      u_error * mul_add(u, constant<V>(2.f / 3, 2. / 3), constant<V>(1.f / 8, 1. / 12));
  const V ratio = u * factor;
  return mul_add(ratio, correction, ratio);
}

/// erf(x) for |x| <= 1.
template <FloatBatch V>
[[gnu::always_inline]] inline V erf_small(const V& x) noexcept {
  const V z = x * x;
  V excess;  // erf(x) / x - 1
  if constexpr (kIsFloat<V>)
    excess = horner(z, 0x1.4c5cb4p-14f, -0x1.a5197ap-11f, 0x1.542fecp-8f, -0x1.b7fec4p-6f,
                    0x1.ce2d52p-4f, -0x1.81274p-2f, 0x1.06eba8p-3f);
  else
    excess = horner(z, 0x1.29783041ef512p-34, -0x1.46794feaf949ep-30, 0x1.fc78cbccf045ap-27,
                    -0x1.5f9828c55d5cep-23, 0x1.b9ee95850f6bfp-20, -0x1.f4d333884b5c9p-17,
                    0x1.f9a335388d2f5p-14, -0x1.c02db49b09506p-11, 0x1.565bcd12991cp-8,
                    -0x1.b82ce312abf08p-6, 0x1.ce2f21a04362dp-4, -0x1.812746b0379fdp-2,
                    0x1.06eba8214db69p-3);
  return mul_add(x, excess, x);
}

}  // namespace detail

/// erf x. Odd, also in the sign of zero; 1 at infinity.
template <FloatBatch V>
[[gnu::always_inline]] inline V erf(const V& x) noexcept {
  const V a = detail::at_most(detail::constant<V>(4.5f, 6.5), xsimd::abs(x));
  // erf a = 1 - 2 Phi(-sqrt(2) a)
  const V ratio =
      detail::normal_tail_ratio(a * detail::constant<V>(0x1.6a09e6p0f, 0x1.6a09e667f3bcdp0));
  const V large = mul_add(V(-2) * ratio, math::exp(-(a * a)), V(1));
  return xsimd::select(a < V(1), detail::erf_small(x), xsimd::copysign(large, x));
}

}  // namespace weft::math
