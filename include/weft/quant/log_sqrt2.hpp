#pragma once

#include <weft/core/lanes.hpp>
#include <weft/layer/rows.hpp>
#include <weft/quant/percentile_grid.hpp>
#include <weft/quant/shift_product.hpp>

#include <bit>
#include <numbers>

/// Probabilities as powers of 1 / sqrt 2: the softmax quantizer of RepQ-ViT (arXiv 2212.08254).
///
///   code = clamp(rint(-2 log2(p / delta)), 0, ..), and from 2^b on p is 0: code 2^b
///   p ~ delta 2^(-code / 2) = delta 2^-ceil(code / 2) (1 + odd(code) (sqrt 2 - 1))
///
/// so that P V is two products by shifts, one over the even codes and one over the odd ones:
///
///   P V = delta (S_even + sqrt 2 S_odd),  S = sum over m of 2^-ceil(code / 2) v[m, :]
///
/// delta is the quantile 0.999, 0.9999 or 0.99999 of the probabilities that has the least squared
/// error, the first on ties; larger p are clipped to it. Values fall strictly with the code. delta
/// 0, where nearly all p are 0, makes all of them 0.
///
/// No logarithm is needed: with p / delta = m 2^e, m in [1, 2), the code is -2 e, less one where
/// m > 2^(1/4), and another where m > 2^(3/4).
///
/// Throws on bits outside 1 .. 8, p that are not finite (when calibrating), shapes that differ.
namespace weft::quant {

struct LogSqrt2Grid {
  double delta = 1;  ///< >= 0, finite
  int bits = 4;      ///< 1 to 8

  /// The code of 0, and of whatever is nearer to it than the last value is.
  int flushed() const noexcept { return 1 << bits; }

  /// Code of p >= 0; NaN has none and gets that of 0.
  int encode(double p) const noexcept {
    const double ratio = p / delta;
    if (!(ratio > 0) || delta == 0) return flushed();
    if (ratio >= 1) return 0;
    int exponent;
    const double mantissa = 2 * std::frexp(ratio, &exponent);
    const int steps = (mantissa > kQuarter) + (mantissa > kThreeQuarters);
    return std::min(2 - 2 * exponent - steps, flushed());
  }

  double decode(int code) const noexcept {
    if (code >= flushed()) return 0;
    const double value = std::ldexp(delta, -((code + 1) / 2));
    return code % 2 == 0 ? value : value * std::numbers::sqrt2;
  }

  /// Keeps NaN.
  double round_trip(double p) const noexcept { return std::isnan(p) ? p : decode(encode(p)); }

  static constexpr double kQuarter = 1.189207115002721;        // 2^(1/4)
  static constexpr double kThreeQuarters = 1.681792830507429;  // 2^(3/4)
};

namespace detail {

inline void check_log_sqrt2(const LogSqrt2Grid& grid) {
  require(grid.bits >= 1 && grid.bits <= 8, "LogSqrt2Grid: ", grid.bits, " bits, must be 1 to 8");
  require(grid.delta >= 0 && std::isfinite(grid.delta), "LogSqrt2Grid: delta is ", grid.delta,
          ", must be finite and not negative");
}

/// The codes of a register of p > 0 scaled by 1 / delta, as whole numbers.
template <class V>
[[gnu::always_inline]] inline V half_steps(const V& ratio) noexcept {
  const auto bits = weft::detail::reinterpret<std::int32_t>(ratio);
  const auto exponent = xsimd::to_float((bits >> 23) - 127);
  const V mantissa = weft::detail::reinterpret<float>((bits & 0x7fffff) | 0x3f800000);
  const auto one_above = [&](double limit) {
    return xsimd::select(mantissa > V(static_cast<float>(limit)), V(1), V(0));
  };
  return V(-2) * exponent - one_above(LogSqrt2Grid::kQuarter) -
         one_above(LogSqrt2Grid::kThreeQuarters);
}

}  // namespace detail

/// Calibrates delta on probabilities p.
template <class T>
LogSqrt2Grid log_sqrt2_grid(View<const T, 2> p, int bits) {
  LogSqrt2Grid best{.delta = 0, .bits = bits};
  detail::check_log_sqrt2(best);
  const auto copy = finite_doubles("p", p);
  const std::span<const double> values = copy.span();
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  double least = std::numeric_limits<double>::infinity();
  for (const double percentile : kPercentiles) {
    const LogSqrt2Grid grid{std::max(quantile(sorted, percentile), 0.), bits};
    const double error = detail::squared_error(grid, values);
    if (error >= least) continue;
    least = error;
    best = grid;
  }
  return best;
}

/// Codes of probabilities p [N, M] in fp32. They can differ from those of LogSqrt2Grid::encode
/// where p / delta is within fp32 rounding of a threshold. Codes need bits <= 7: 2^8 does not fit.
template <class A = DefaultArch>
void log_sqrt2_encode(const LogSqrt2Grid& grid, View<const float, 2> p, View<std::uint8_t, 2> codes,
                      const Context& ctx = Context{}) {
  detail::check_log_sqrt2(grid);
  require(grid.bits <= 7, "log_sqrt2_encode: ", grid.bits, " bits, must be 1 to 7");
  weft::detail::require_same_rows("log_sqrt2_encode", "p", p, "codes", codes);
  using V = Vec<float, A>;
  constexpr Index W = kWidth<float, A>;
  const Index n = p.extent(1);
  const V delta(static_cast<float>(grid.delta)), flushed(static_cast<float>(grid.flushed()));
  weft::detail::for_each_row(
      ctx,
      [&](Index, const float* from, std::uint8_t* to) {
        alignas(64) std::int32_t lanes[W];
        for (Index j = 0; j < n; j += W) {
          const Index count = std::min(W, n - j);
          const V x = load_partial<A>(from + j, count);
          const V steps = xsimd::max(detail::half_steps(V(x / delta)), V(0));
          // x > 0 fails for NaN, and 2^-126 is flushed in any case.
          const V code = xsimd::select(x > V(0x1p-126f) && delta > V(0), steps, flushed);
          xsimd::to_int(xsimd::min(code, flushed)).store_aligned(lanes);
          for (Index l = 0; l < count; ++l) to[j + l] = static_cast<std::uint8_t>(lanes[l]);
        }
      },
      p, codes);
}

/// out = v_scale P V for codes [N, M] of probabilities and 8-bit codes v [M, E] of values.
///
/// The sums of both parities are integers with as many fractional bits as M leaves room for in 32
/// bits, 23 - log2 M: exact for bits <= 4 and fewer than 2^15 keys; else each key is floored to
/// that.
template <class A = DefaultArch>
void log_sqrt2_product(const LogSqrt2Grid& grid, View<const std::uint8_t, 2> codes,
                       View<const std::int8_t, 2> v, double v_scale, View<float, 2> out,
                       const Context& ctx = Context{}) {
  detail::check_log_sqrt2(grid);
  const Index keys = v.extent(0), cols = v.extent(1);
  require(keys < (Index{1} << 23), "log_sqrt2_product: ", keys, " keys, must be below 2^23");
  const int room = 23 - static_cast<int>(std::bit_width(static_cast<std::uint32_t>(keys)));
  const int fraction = std::clamp(grid.flushed() / 2, 0, room);
  detail::check_shift_product("log_sqrt2_product", codes, grid.flushed(), v, fraction, out);
  const Index padded = round_up(cols, kWidth<std::int32_t, A>);
  const Arena::Frame frame(ctx.arena());
  const std::int32_t* values = detail::widen_values<A>(v, fraction, ctx.arena());
  const double scale = std::ldexp(grid.delta * v_scale, -fraction);
  const auto even_scale = static_cast<float>(scale);
  const auto odd_scale = static_cast<float>(scale * std::numbers::sqrt2);
  detail::for_each_shift_row(out.extent(0), ctx, [&](Index n, Arena& arena) {
    auto* terms = arena.take<detail::ShiftTerm>(keys);
    auto* even = arena.take<std::int32_t>(padded);
    auto* odd = arena.take<std::int32_t>(padded);
    for (const int parity : {0, 1}) {
      const Index count = detail::shift_terms(
          codes.pointer(n), keys, [&](int c) { return c < grid.flushed() && c % 2 == parity; },
          [](int c) { return std::min((c + 1) / 2, 31); }, terms);
      detail::add_shifted<A>(terms, count, values, padded, parity == 0 ? even : odd);
    }
    float* to = out.pointer(n);
    for (Index e = 0; e < cols; ++e)
      to[e] = even_scale * static_cast<float>(even[e]) + odd_scale * static_cast<float>(odd[e]);
  });
}

}  // namespace weft::quant
