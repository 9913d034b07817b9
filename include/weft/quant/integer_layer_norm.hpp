#pragma once

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

/// y = x - mean; returns the mean. n is at most 2^20.
template <class A>
double centre_row(const std::int32_t* x, Index n, double* y) noexcept {
  using V = Vec<double, A>;
  constexpr Index W = kWidth<double, A>;
  for (Index d = 0; d < n; ++d) y[d] = x[d];
  V sums(0);
  Index d = 0;
  for (; d + W <= n; d += W) sums += load<A>(y + d);
  double sum = weft::detail::sum_lanes(sums);
  for (; d < n; ++d) sum += y[d];
  const double mean = round_half_even(sum / static_cast<double>(n));
  for (Index i = 0; i < n; ++i) y[i] -= mean;
  return mean;
}

/// floor(sqrt(sum floor(y / 2^shift)^2)) 2^shift, or kOverflow. Squares are summed in two parts,
/// above and below 2^26, both of them exactly.
template <class A>
std::int64_t row_std(const double* y, Index n, int shift) noexcept {
  using V = Vec<double, A>;
  constexpr Index W = kWidth<double, A>;
  const V step(std::ldexp(1., -shift));
  V high(0), low(0), largest(0);
  for (Index d = 0; d < n; d += W) {
    const Index lanes = std::min(W, n - d);
    const V v = xsimd::floor(load_partial<A>(y + d, lanes) * step), square = v * v;
    const V part = xsimd::floor(square * V(0x1p-26));
    largest = xsimd::max(largest, xsimd::abs(v));
    high += part;
    low += square - part * V(0x1p26);
  }
  const double top = weft::detail::max_lanes(largest), above = weft::detail::sum_lanes(high);
  if (top >= kSquareLimit || above >= 0x1p37) return kOverflow;
  const auto sum = (static_cast<std::uint64_t>(above) << 26) +
                   static_cast<std::uint64_t>(weft::detail::sum_lanes(low));
  return static_cast<std::int64_t>(integer_sqrt(sum) << shift);
}

/// y <- floor(y factor / 2). |y| is at most about std, and so the product below 2^33.
template <class A>
void scale_centred(double* y, Index n, std::int64_t factor) noexcept {
  using V = Vec<double, A>;
  const V half(static_cast<double>(factor) / 2);
  for (Index d = 0; d < n; d += kWidth<double, A>) {
    const Index lanes = std::min(kWidth<double, A>, n - d);
    store_partial<A>(y + d, xsimd::floor(load_partial<A>(y + d, lanes) * half), lanes);
  }
}

/// The integers n of a row, as doubles; meaningless where std is kOverflow.
template <class A>
IntegerMoments normalize_integers(const std::int32_t* x, Index n, int shift, double* y) noexcept {
  const double mean = centre_row<A>(x, n, y);
  const std::int64_t std = row_std<A>(y, n, shift);
  const std::int64_t factor = std <= 0 ? 0 : (std::int64_t{1} << 31) / std;
  scale_centred<A>(y, n, factor);
  return {static_cast<std::int64_t>(mean), std, factor};
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
  Tensor<double, 1> y({x.extent(0)});
  const auto moments = detail::normalize_integers<A>(x.data(), x.extent(0), shift, y.data());
  detail::require_no_overflow(moments.std != detail::kOverflow, shift);
  for (Index d = 0; d < y.extent(0); ++d) n(d) = static_cast<std::int64_t>(y(d));
  return moments;
}

/// The norm of one layer: gamma and beta become integers and scales once.
class IntegerLayerNorm {
 public:
  /// gamma and beta [D].
  IntegerLayerNorm(View<const float, 1> gamma, View<const float, 1> beta, int shift = 0)
      : bias_({gamma.extent(0)}),
        step_({gamma.extent(0)}),
        beta_({gamma.extent(0)}),
        shift_(shift) {
    const Index D = gamma.extent(0);
    require(D >= 1 && D <= (1 << 20) && beta.extent(0) == D, "IntegerLayerNorm: gamma is ", gamma,
            ", beta ", beta, "; wanted two of 1 to 2^20 channels");
    require(shift >= 0 && shift <= 31, "IntegerLayerNorm: a shift of ", shift, ", must be 0 to 31");
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

  Index channels() const noexcept { return step_.extent(0); }
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
      double* y = arena.template take<double>(D);
      const Index end = std::min((task + 1) * block, rows);
      for (Index r = task * block; r < end; ++r) {
        const auto moments = detail::normalize_integers<A>(x.pointer(r), D, shift_, y);
        fits[task] = fits[task] && moments.std != detail::kOverflow;
        finish<A>(moments.factor != 0, y, out.pointer(r));
      }
    });
    detail::require_no_overflow(std::all_of(fits, fits + tasks, [](bool b) { return b; }), shift_);
  }

 private:
  template <class A, class T>
  void finish(bool varies, const double* n, T* out) const noexcept {
    const double *bias = bias_.data(), *step = step_.data(), *beta = beta_.data();
    for (Index d = 0; d < channels(); ++d) {
      const double value = (n[d] + bias[d]) * step[d];
      out[d] = static_cast<T>(varies && step[d] != 0 ? value : beta[d]);
    }
  }

  Tensor<double, 1> bias_, step_, beta_;
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
