#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/lanes.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/rows.hpp>
#include <weft/quant/affine.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

/// LayerNorm of integers by integers: I-BERT, arXiv 2101.01321. For a row x of D integers
///
///   mean = rint(sum x / D),  y = x - mean
///   std  = floor(sqrt(sum floor(y / 2^k)^2)) 2^k                         k: shift, 0 by default
///   f    = floor(2^31 / std),  n = floor(y f / 2)                        scale sf = sqrt(D) / 2^30
///   out  = (n + floor(beta / gamma / sf)) sf gamma
///
/// The scale of x drops out. std is that of a sum, not of a mean, and there is no eps: a row of
/// equal integers gives beta; so does a channel with gamma = 0, where the reference divides by it.
///
/// Input by power-of-two factors (FQ-ViT, arXiv 2111.13824): the channels of what goes in differ
/// widely, so that channel c gets the step s 2^a_c, a_c in 0 .. 3, of one s for all. Its codes
/// become integers of one scale by a shift, x = (code - zero) 2^a_c.
///
/// Sums and products stay below 2^53 and live in lanes of double: the same integers on every
/// instruction set. O(D) per row. Throws where shapes differ, rows are not contiguous, D is not in
/// [1, 2^20], or the squares of a row need a larger shift.
namespace weft::quant {

/// floor(sqrt(n)) by Newton's method from above: each step roughly doubles the right bits.
constexpr std::uint64_t integer_sqrt(std::uint64_t n) noexcept {
  if (n == 0) return 0;
  std::uint64_t root = std::uint64_t{1} << ((std::bit_width(n) + 1) / 2);
  // The start for 64 bits is 2^32, whose sum with the quotient cannot overflow.
  for (;;) {
    const std::uint64_t next = (root + n / root) / 2;
    if (next >= root) return root;
    root = next;
  }
}

/// What a row was normalised by.
struct IntegerMoments {
  std::int64_t mean, std, factor;  ///< factor is 0 where std is
};

namespace detail {

/// Rows whose largest |y / 2^k| reaches this cannot be squared exactly.
inline constexpr double kSquareLimit = 0x1p26;
/// The std of a row whose sum of squares does not fit.
inline constexpr std::int64_t kOverflow = -1;

inline void require_no_overflow(bool fits, int shift) {
  require(fits, "integer_layer_norm: a row with a shift by ", shift,
          " overflows its sum of squares; give a larger shift");
}

/// Rows in scratch memory are this long: a multiple of all registers.
constexpr Index padded_channels(Index n) noexcept { return round_up(n, 8); }

/// The mean of a row, rounded; y = x, followed by the mean. n is at most 2^20.
template <class A>
double rounded_mean(const std::int32_t* x, Index n, double* y) noexcept {
  using V = Vec<double, A>;
  const Index padded = padded_channels(n);
  for (Index d = 0; d < n; ++d) y[d] = x[d];
  std::fill(y + n, y + padded, 0.);
  V sums(0);
  for (Index d = 0; d < padded; d += kWidth<double, A>) sums += load<A>(y + d);
  const double mean = round_half_even(weft::detail::sum_lanes(sums) / static_cast<double>(n));
  std::fill(y + n, y + padded, mean);
  return mean;
}

/// y -= mean; returns floor(sqrt(sum floor(y / 2^shift)^2)) 2^shift, or kOverflow. Squares are
/// summed in two parts, above and below 2^26, both of them exactly. n is padded.
template <class A>
std::int64_t centre_row(double mean, double* y, Index n, int shift) noexcept {
  using V = Vec<double, A>;
  const V step(std::ldexp(1., -shift));
  V high(0), low(0), largest(0);
  for (Index d = 0; d < n; d += kWidth<double, A>) {
    const V away = load<A>(y + d) - V(mean);
    store<A>(y + d, away);
    const V v = xsimd::floor(away * step), square = v * v;
    const V above = xsimd::floor(square * V(0x1p-26));
    largest = xsimd::max(largest, xsimd::abs(v));
    high += above;
    low += square - above * V(0x1p26);
  }
  const double top = weft::detail::max_lanes(largest), above = weft::detail::sum_lanes(high);
  if (top >= kSquareLimit || above >= 0x1p37) return kOverflow;
  const auto sum = (static_cast<std::uint64_t>(above) << 26) +
                   static_cast<std::uint64_t>(weft::detail::sum_lanes(low));
  return static_cast<std::int64_t>(integer_sqrt(sum) << shift);
}

/// y = x - mean, padded, and what the row is normalised by; meaningless where std is kOverflow.
template <class A>
IntegerMoments measure_integers(const std::int32_t* x, Index n, int shift, double* y) noexcept {
  const double mean = rounded_mean<A>(x, n, y);
  const std::int64_t std = centre_row<A>(mean, y, padded_channels(n), shift);
  const std::int64_t factor = std <= 0 ? 0 : (std::int64_t{1} << 31) / std;
  return {static_cast<std::int64_t>(mean), std, factor};
}

/// floor(y factor / 2) of a register. |y| is at most about std, and so the product below 2^33.
template <class V>
[[gnu::always_inline]] inline V scale_centred(const V& y, std::int64_t factor) noexcept {
  return xsimd::floor(y * V(static_cast<double>(factor) / 2));
}

}  // namespace detail

/// The integers n of one row of D, and what it was normalised by.
template <class A = DefaultArch>
IntegerMoments integer_normalize(View<const std::int32_t, 1> x, View<std::int64_t, 1> n,
                                 int shift = 0) {
  weft::detail::require_same_rows("integer_normalize", "x", x, "n", n);
  require(x.extent(0) >= 1 && x.extent(0) <= (1 << 20), "integer_normalize: a row of ", x.extent(0),
          " integers, must be 1 to 2^20");
  require(shift >= 0 && shift <= 31, "integer_normalize: a shift of ", shift, ", must be 0 to 31");
  Tensor<double, 1> y({detail::padded_channels(x.extent(0))});
  const auto moments = detail::measure_integers<A>(x.data(), x.extent(0), shift, y.data());
  detail::require_no_overflow(moments.std != detail::kOverflow, shift);
  for (Index d = 0; d < n.extent(0); ++d)
    n(d) = static_cast<std::int64_t>(
        detail::scale_centred(Vec<double, A>(y(d)), moments.factor).get(0));
  return moments;
}

/// The norm of one layer: gamma and beta become integers and scales once.
class IntegerLayerNorm {
 public:
  /// gamma and beta [D].
  IntegerLayerNorm(View<const float, 1> gamma, View<const float, 1> beta, int shift = 0)
      : channels_(gamma.extent(0)), shift_(shift) {
    const Index D = gamma.extent(0);
    require(D >= 1 && D <= (1 << 20) && beta.extent(0) == D, "IntegerLayerNorm: gamma is ", gamma,
            ", beta ", beta, "; wanted two of 1 to 2^20 channels");
    require(shift >= 0 && shift <= 31, "IntegerLayerNorm: a shift of ", shift, ", must be 0 to 31");
    for (auto* rows : {&bias_, &step_, &beta_})
      *rows = Tensor<double, 1>({detail::padded_channels(D)});
    const double sf = std::sqrt(static_cast<double>(D)) * 0x1p-30;
    for (Index d = 0; d < D; ++d) {
      const double g = static_cast<double>(gamma(d)), b = static_cast<double>(beta(d));
      require(std::isfinite(g) && std::isfinite(b), "IntegerLayerNorm: channel ", d, " has gamma ",
              g, " and beta ", b);
      step_(d) = sf * g;
      bias_(d) = g == 0 ? 0 : std::floor(b / g / sf);
      beta_(d) = b;
    }
  }

  Index channels() const noexcept { return channels_; }
  double bias(Index d) const noexcept { return bias_(d); }  ///< an integer
  double step(Index d) const noexcept { return step_(d); }  ///< of the results, sf gamma

  /// out = norm(x), arrays [R, D]; T is float or double. After an overflow out is what it happens
  /// to be.
  template <class A = DefaultArch, class T>
  void apply(View<const std::int32_t, 2> x, View<T, 2> out, const Context& ctx = Context{}) const {
    weft::detail::require_same_rows("IntegerLayerNorm", "x", x, "out", out);
    const Index D = channels(), rows = x.extent(0);
    require(x.extent(1) == D, "IntegerLayerNorm: x is ", x, ", the norm has ", D, " channels");
    const Index block = std::max<Index>(1, weft::detail::kRowTask / D);
    const Index tasks = ceil_div(rows, block);
    const Arena::Frame frame(ctx.arena());
    // A task may run on a thread that has nobody to throw to.
    bool* fits = ctx.arena().template take<bool>(tasks);
    ctx.parallel(tasks, [&](Index task, Arena& arena) {
      fits[task] = true;
      double* y = arena.template take<double>(detail::padded_channels(D));
      const Index end = std::min((task + 1) * block, rows);
      for (Index r = task * block; r < end; ++r) {
        const auto moments = detail::measure_integers<A>(x.pointer(r), D, shift_, y);
        fits[task] = fits[task] && moments.std != detail::kOverflow;
        finish<A>(moments.factor, y, out.pointer(r));
      }
    });
    detail::require_no_overflow(std::all_of(fits, fits + tasks, [](bool b) { return b; }), shift_);
  }

 private:
  template <class A, class T>
  void finish(std::int64_t factor, const double* y, T* out) const noexcept {
    using V = Vec<double, A>;
    constexpr Index W = kWidth<double, A>;
    if (factor == 0) {
      for (Index d = 0; d < channels(); ++d) out[d] = static_cast<T>(beta_(d));
      return;
    }
    const auto value = [&](Index d) {
      const V n = detail::scale_centred(load<A>(y + d), factor);
      const V step = load<A>(step_.data() + d);
      return V(xsimd::select(step == V(0), load<A>(beta_.data() + d),
                             (n + load<A>(bias_.data() + d)) * step));
    };
    Index d = 0;
    for (; d + W <= channels(); d += W) store_as<A>(out + d, value(d));
    if (d < channels()) store_as_partial<A>(out + d, value(d), channels() - d);
  }

  Tensor<double, 1> bias_, step_, beta_;  ///< padded
  Index channels_;
  int shift_;
};

/// Codes x ~ scale 2^factor_c (code - zero) of channel c.
struct PowerOfTwoFactors {
  double scale = 1;  ///< s, the finest step
  int zero = 0;
  CodeRange codes;
  Tensor<std::int32_t, 1> factor;  ///< a_c in 0 .. 3

  double step(Index c) const noexcept { return std::ldexp(scale, factor(c)); }
  /// zero is added before rounding, as the reference does.
  int encode(double x, Index c) const noexcept {
    const double code = round_half_even(x / step(c) + zero);
    return static_cast<int>(std::clamp<double>(code, codes.low, codes.high));
  }
  double decode(int code, Index c) const noexcept { return step(c) * (code - zero); }
  /// What the code is as an integer of scale `scale`: the input of the integer LayerNorm.
  std::int32_t align(int code, Index c) const noexcept { return (code - zero) * (1 << factor(c)); }
};

/// The factors of numbers x [T, C]: s = (max - min) / (high - low) / 8 over all channels, zero =
/// clamp(low - rint(min / 8 s)), and for each channel the factor of the least squared error, the
/// smallest on ties. Throws on an empty x and on numbers that are not finite.
inline PowerOfTwoFactors power_of_two_factors(View<const float, 2> x, CodeRange codes) {
  const Index tokens = x.extent(0), channels = x.extent(1);
  require(!x.empty(), "power_of_two_factors: x is ", x, ", has no numbers");
  double lo = static_cast<double>(x(0, 0)), hi = lo;
  for (Index t = 0; t < tokens; ++t)
    for (Index c = 0; c < channels; ++c) {
      const double v = static_cast<double>(x(t, c));
      require(std::isfinite(v), "power_of_two_factors: ", v, " has no place in any range");
      lo = std::min(lo, v);
      hi = std::max(hi, v);
    }
  const double coarse = hi == lo ? 1 : (hi - lo) / (codes.high - codes.low);
  PowerOfTwoFactors out{.scale = coarse / 8, .zero = 0, .codes = codes, .factor = {}};
  const double zero = codes.low - round_half_even(lo / coarse);
  out.zero = static_cast<int>(std::clamp<double>(zero, codes.low, codes.high));
  out.factor = Tensor<std::int32_t, 1>({channels});
  for (Index c = 0; c < channels; ++c) {
    double least = std::numeric_limits<double>::infinity();
    std::int32_t best = 0;
    for (const std::int32_t factor : {0, 1, 2, 3}) {
      out.factor(c) = factor;
      double error = 0;
      for (Index t = 0; t < tokens; ++t) {
        const double v = static_cast<double>(x(t, c)), d = v - out.decode(out.encode(v, c), c);
        error += d * d;
      }
      if (error < least) {
        least = error;
        best = factor;
      }
    }
    out.factor(c) = best;
  }
  return out;
}

}  // namespace weft::quant
