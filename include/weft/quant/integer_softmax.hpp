#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/rows.hpp>
#include <weft/quant/integer_exp.hpp>
#include <weft/quant/rounding.hpp>

#include <concepts>

/// Softmax of rows of integer scores x [R, M], real scores being scale x, in integers alone.
///
///   IntegerSoftmax     e16  = clamp(rint(e exp_scale / step), -(2^15 - 1), 2^15 - 2)
///     I-BERT,          f    = floor(2^32 / sum e16)
///     arXiv 2101.01321 code = floor(e16 f / 2^(32 - bits))        probability ~ code 2^-bits
///   LogIntegerSoftmax  t    = rint(sum e / e)
///     FQ-ViT,          k    = floor(log2 t), one more where t >= 3/2 2^k
///     arXiv 2111.13824 code = min(k, 2^bits)                      probability ~ 2^-code, and 0 for
///                                                                 the code 2^bits
///
/// with e = i-exp(x - max x) of integer_exp.hpp. The codes of a row sum to at most 2^bits. A key
/// that is not visible (`visible` [R, M], 0: hidden; without it all are visible) counts as e = 0
/// exactly, whatever its score; a row that sees no key gets zeros (2^bits of the logarithmic kind).
/// shift_product.hpp multiplies logarithmic codes by values.
///
/// Codes are uint8_t, uint16_t or int32_t and stop at the largest that these hold: a row of one key
/// whose e16 is a power of two gives 2^bits. (With the default step that cannot happen.)
///
/// The same integers on every instruction set (integer_exp.hpp says how). Time O(R M), scratch M
/// doubles per worker. Throws on shapes that differ, rows that are not contiguous, and parameters
/// out of range.
namespace weft::quant {

struct IntegerSoftmax {
  double scale;     ///< of the scores, in [2^-24, 1]
  int bits = 8;     ///< of the probabilities, 1 to 16
  double step = 0;  ///< of the 16-bit exponentials; 0 means e^0 / (2^15 - 1)
};

struct LogIntegerSoftmax {
  double scale;  ///< of the scores, in [2^-24, 1]
  int bits = 4;  ///< of the codes, 1 to 8; uint8_t has no room for 2^8
};

namespace detail {

/// One row of I-BERT's softmax: scores become codes, in place.
struct SoftmaxRow {
  IntegerExp exp;
  double factor;  ///< from e to e16
  int bits;

  explicit SoftmaxRow(const IntegerSoftmax& s) : exp(s.scale), bits(s.bits) {
    require(bits >= 1 && bits <= 16, "integer_softmax: ", bits, " bits, must be 1 to 16");
    require(std::isfinite(s.step) && s.step >= 0, "integer_softmax: the step is ", s.step);
    factor = s.step == 0 ? kLargest / exp.one() : exp.exp_scale / s.step;
  }

  static constexpr double kLargest = 32767;  // 2^15 - 1; the reference clamps to one less
  double hidden() const noexcept { return 0; }

  /// n is a multiple of the register.
  template <class A>
  void operator()(double* row, Index n, double largest) const noexcept {
    using V = Vec<double, A>;
    V sums(0);
    for (Index j = 0; j < n; j += kWidth<double, A>) {
      const V e = visible_exp<A>(exp, largest, row + j);
      const V e16 = xsimd::min(xsimd::nearbyint(e * V(factor)), V(kLargest - 1));
      store<A>(row + j, e16);
      sums += e16;
    }
    const double sum = weft::detail::sum_lanes(sums);
    // 2^32 / sum is not near an integer that it does not reach: both are far below 2^53.
    const V share((sum == 0 ? 0 : std::floor(0x1p32 / sum)) * std::ldexp(1., bits - 32));
    for (Index j = 0; j < n; j += kWidth<double, A>)
      store<A>(row + j, xsimd::floor(load<A>(row + j) * share));
  }
};

/// One row of FQ-ViT's softmax.
struct LogSoftmaxRow {
  IntegerExp exp;
  double flushed;

  explicit LogSoftmaxRow(const LogIntegerSoftmax& s) : exp(s.scale) {
    require(s.bits >= 1 && s.bits <= 8, "integer_softmax: logarithmic codes of ", s.bits,
            " bits, must be 1 to 8");
    flushed = static_cast<double>(1 << s.bits);
  }

  double hidden() const noexcept { return flushed; }

  /// n is a multiple of the register. The sum, of up to 83 bits, is rounded once: its parts above
  /// and below 2^30 are summed exactly and therefore in any order.
  template <class A>
  void operator()(double* row, Index n, double largest) const noexcept {
    using V = Vec<double, A>;
    V high(0), low(0);
    for (Index j = 0; j < n; j += kWidth<double, A>) {
      const V e = visible_exp<A>(exp, largest, row + j), above = xsimd::floor(e * V(0x1p-30));
      store<A>(row + j, e);
      high += above;
      low += e - above * V(0x1p30);
    }
    const V sum(weft::detail::sum_lanes(high) * 0x1p30 + weft::detail::sum_lanes(low));
    for (Index j = 0; j < n; j += kWidth<double, A>) {
      const V e = load<A>(row + j);
      const V ratio = xsimd::nearbyint(sum / xsimd::max(e, V(1)));
      const V code = xsimd::min(rounded_log2(ratio), V(flushed));
      store<A>(row + j, xsimd::select(e == V(0), V(flushed), code));
    }
  }

  /// k where t in [3/4 2^k, 3/2 2^k), for t >= 1: adding half of the lowest binade to the mantissa
  /// carries into the exponent exactly where it should.
  template <class V>
  [[gnu::always_inline]] static V rounded_log2(const V& t) noexcept {
    const auto bits = weft::detail::reinterpret<std::uint64_t>(t) + (std::uint64_t{1} << 51);
    // The exponent in the low bits of a number around 2^52.
    const auto field = (bits >> 52) | weft::detail::reinterpret<std::uint64_t>(V(0x1p52));
    return weft::detail::reinterpret<double>(field) - V(0x1p52 + 1023);
  }
};

inline SoftmaxRow row_kernel(const IntegerSoftmax& s) { return SoftmaxRow(s); }
inline LogSoftmaxRow row_kernel(const LogIntegerSoftmax& s) { return LogSoftmaxRow(s); }

template <class Code>
concept SoftmaxCode = std::same_as<Code, std::uint8_t> || std::same_as<Code, std::uint16_t> ||
                      std::same_as<Code, std::int32_t>;

/// Codes are at most 2^16 and never negative.
template <class A, class Code>
void narrow_row(const double* from, Code* to, Index n) noexcept {
  constexpr std::int32_t largest = std::numeric_limits<Code>::max();
  for (Index j = 0; j < n; ++j)
    to[j] = static_cast<Code>(std::min(static_cast<std::int32_t>(from[j]), largest));
}

}  // namespace detail

/// Codes of the probabilities of scores x [R, M] that are visible.
template <class A = DefaultArch, class S, detail::SoftmaxCode Code>
void integer_softmax(const S& softmax, View<const std::int32_t, 2> x,
                     View<const std::uint8_t, 2> visible, View<Code, 2> codes,
                     const Context& ctx = Context{}) {
  const auto kernel = detail::row_kernel(softmax);
  const Index n = x.extent(1), padded = round_up(n, kWidth<double, A>);
  weft::detail::require_same_rows("integer_softmax", "x", x, "codes", codes);
  require(kernel.hidden() <= std::numeric_limits<Code>::max(), "integer_softmax: the code ",
          kernel.hidden(), " of nothing does not fit in ", 8 * sizeof(Code), " bits");
  const bool masked = visible.data() != nullptr;
  if (masked) weft::detail::require_same_rows("integer_softmax", "x", x, "visible", visible);
  const Index block = std::max<Index>(1, weft::detail::kRowTask / std::max<Index>(1, n));
  ctx.parallel(ceil_div(x.extent(0), block), [&](Index task, Arena& arena) {
    double* row = arena.template take<double>(padded);
    const Index end = std::min((task + 1) * block, x.extent(0));
    for (Index r = task * block; r < end; ++r) {
      const auto* mask = masked ? visible.pointer(r) : nullptr;
      const double largest = detail::visible_scores<A>(x.pointer(r), mask, n, padded, row);
      if (largest == detail::kHidden) {
        std::fill_n(row, n, kernel.hidden());
      } else {
        kernel.template operator()<A>(row, padded, largest);
      }
      detail::narrow_row<A>(row, codes.pointer(r), n);
    }
  });
}

/// The same with all keys visible.
template <class A = DefaultArch, class S, detail::SoftmaxCode Code>
void integer_softmax(const S& softmax, View<const std::int32_t, 2> x, View<Code, 2> codes,
                     const Context& ctx = Context{}) {
  integer_softmax<A>(softmax, x, {}, codes, ctx);
}

}  // namespace weft::quant
