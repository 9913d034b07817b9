#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/simd.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/rows.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

/// GELU of integers by integers: I-BERT, arXiv 2101.01321. With the scale S of the input,
///
///   s1    = S / 1.4142,  b = floor(-1.769 / s1),  c = floor(1 / -0.2888 / s1^2)
///   erf   = floor(sign(x) ((min(|x|, -b) + b)^2 + c) / 2^14),   scale se = -0.2888 s1^2 2^14 < 0
///   y     = x (erf + floor(1 / se)),                            scale S se / 2
///
/// (1.4142 is the paper's constant, not sqrt 2.) At most 0.018 away from the exact GELU for the
/// fine scales of accumulators, S < 1e-3. The shift by 14 bits leaves little at 1e-2 and nothing at
/// the scale of an 8-bit code: requantize what comes out, not what goes in.
///
/// erf is computed in lanes of double, where every integer of it is exact, and the result is one
/// product of 64 bits: the same integers on every instruction set. O(n). Throws where shapes
/// differ, rows are not contiguous, or S is not in [2^-20, 1].
namespace weft::quant {

class IntegerGelu {
 public:
  explicit IntegerGelu(double scale) {
    require(scale >= 0x1p-20 && scale <= 1, "IntegerGelu: the scale is ", scale,
            ", must be in [2^-20, 1]");
    const double s1 = scale / 1.4142;
    b_ = std::floor(-1.769 / s1);
    c_ = std::floor(1 / -0.2888 / (s1 * s1));
    erf_scale_ = -0.2888 * (s1 * s1) * 0x1p14;
    shift_ = std::floor(1 / erf_scale_);
    scale_ = scale * erf_scale_ / 2;
  }

  double scale() const noexcept { return scale_; }          ///< of the result; negative
  double erf_scale() const noexcept { return erf_scale_; }  ///< negative
  std::int32_t shift() const noexcept { return static_cast<std::int32_t>(shift_); }  ///< 1 / se

  /// erf of a register of integers, in units of erf_scale().
  template <class X>
  [[gnu::always_inline]] xsimd::batch<double, X> erf(
      const xsimd::batch<double, X>& x) const noexcept {
    using V = xsimd::batch<double, X>;
    const V from_end = xsimd::min(xsimd::abs(x), V(-b_)) + V(b_);
    const V value = xsimd::floor((from_end * from_end + V(c_)) * V(0x1p-14));
    // floor(-v) is not -floor(v).
    const V negative = xsimd::floor((V(0) - from_end * from_end - V(c_)) * V(0x1p-14));
    return xsimd::select(x > V(0), value, xsimd::select(x < V(0), negative, V(0)));
  }

 private:
  double b_, c_, shift_, erf_scale_, scale_;
};

/// y = gelu(x) over arrays [R, C] of one shape; y in units of gelu.scale().
template <class A = DefaultArch>
void integer_gelu(const IntegerGelu& gelu, View<const std::int32_t, 2> x, View<std::int64_t, 2> y,
                  const Context& ctx = Context{}) {
  constexpr Index W = kWidth<double, A>, block = 32 * W;
  weft::detail::require_same_rows("integer_gelu", "x", x, "y", y);
  const Index n = x.extent(1);
  const std::int64_t shift = gelu.shift();
  weft::detail::for_each_row(
      ctx,
      [&](Index, const std::int32_t* from, std::int64_t* to) {
        alignas(64) double lanes[block] = {};
        for (Index j = 0; j < n; j += block) {
          const Index count = std::min(block, n - j);
          for (Index l = 0; l < count; ++l) lanes[l] = from[j + l];
          for (Index l = 0; l < count; l += W) store<A>(lanes + l, gelu.erf(load<A>(lanes + l)));
          for (Index l = 0; l < count; ++l)
            to[j + l] = from[j + l] * (static_cast<std::int32_t>(lanes[l]) + shift);
        }
      },
      x, y);
}

}  // namespace weft::quant
