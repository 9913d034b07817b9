#pragma once

#include <weft/core/bytes.hpp>
#include <weft/layer/operator.hpp>
#include <weft/quant/affine.hpp>
#include <weft/quant/decoded_product.hpp>
#include <weft/quant/input_order.hpp>

#include <algorithm>

/// A linear operator with a weight of 8-bit integers that have a scale, and perhaps a zero point,
/// per output and group of consecutive inputs (Q8_0, GPTQ of 8 bits):
///
///   W[o, k] = scale[o, g] code[o, k] + offset[o, g],          g = k / group
///   y[m, o] = epilogue(sum_k x[m, k] W[o, k] + bias[o])
///
/// Only the weight is in 8 bits: x is multiplied as it is, floats by the weight decoded to floats,
/// bf16 by the weight rounded to bf16. Scales and offsets are floats, which adds 2 bits per weight
/// to groups of 32 with offsets. Int8Operator, with one scale per output and activations of 8 bits,
/// is faster on many rows.
///
/// `order`, if given, is a permutation: column k of the weight is the input order[k] of x.
///
/// Costs the 2 n out in operations of a dense operator plus decoding, once for about 1 MB of rows
/// of x; of one row, the bytes of the weight over the bandwidth. Rows of x have stride 1. Throws as
/// DenseOperator does.
namespace weft::quant {

/// The weight as bytes in panels [cols][kTileCols], and its scales.
template <class A = DefaultArch>
class EightBitWeight {
 public:
  using arch = A;
  static constexpr Index kCols = weft::detail::kTileCols<float, A>;

  /// Codes within 256 of each other, with groups of columns of a row. Throws where they are not so,
  /// and where a scale is not finite.
  template <class Code>
  explicit EightBitWeight(const QuantizedMatrix<Code>& q)
      : rows_(q.codes.extent(0)),
        cols_(q.codes.extent(1)),
        group_(std::clamp<Index>(q.block.cols, 1, std::max<Index>(cols_, 1))) {
    require(q.block.rows == 1 || rows_ <= 1, "EightBitWeight: blocks of ", q.block.rows,
            " rows, wanted groups of a row");
    require(q.range.high - q.range.low <= 255, "EightBitWeight: codes of ", q.range.low, " to ",
            q.range.high, " have more than 8 bits");
    // What makes signed bytes of the codes, unless they are.
    const int middle = q.range.low >= -128 && q.range.high <= 127 ? 0 : q.range.low + 128;
    pack_codes(q.codes.view(), middle);
    pack_grids(q, middle);
  }

  Index rows() const noexcept { return rows_; }
  Index cols() const noexcept { return cols_; }
  Index group() const noexcept { return group_; }
  Index groups() const noexcept { return ceil_div(cols_, group_); }
  Index padded_cols() const noexcept { return round_up(cols_, 4); }
  Index bytes() const noexcept { return codes_.size() + 4 * (scale_.size() + offset_.size()); }
  bool has_offset() const noexcept { return offset_.size() != 0; }

  const std::int8_t* codes(Index panel) const noexcept {
    return codes_.data() + panel * padded_cols() * kCols;
  }
  /// The kCols scales of a group of inputs.
  const float* scale(Index panel, Index g) const noexcept {
    return scale_.data() + at(panel * kCols, g);
  }
  const float* offset(Index panel, Index g) const noexcept {
    return offset_.data() + at(panel * kCols, g);
  }

  /// One element, decoded.
  float operator()(Index o, Index k) const noexcept {
    const Index i = at(o, k / group_);
    const float value = scale_(i) * static_cast<float>(codes_(position(o, k)));
    return has_offset() ? value + offset_(i) : value;
  }

 private:
  Index position(Index o, Index k) const noexcept {
    return (o / kCols * padded_cols() + k) * kCols + o % kCols;
  }
  Index at(Index o, Index g) const noexcept {
    return (o / kCols * groups() + g) * kCols + o % kCols;
  }

  template <class Code>
  void pack_codes(const View<const Code, 2>& codes, int middle) {
    codes_ = Tensor<std::int8_t, 1>({round_up(rows_, kCols) * padded_cols()});
    for (Index o = 0; o < rows_; ++o)
      for (Index k = 0; k < cols_; ++k)
        codes_(position(o, k)) = static_cast<std::int8_t>(codes(o, k) - middle);
  }

  /// There are no offsets where all zero points are in the middle.
  template <class Code>
  void pack_grids(const QuantizedMatrix<Code>& q, int middle) {
    const auto shift = [&](Index o, Index g) {
      return middle - (q.zero.size() == 0 ? 0 : q.zero(o, g));
    };
    scale_ = Tensor<float, 1>({round_up(rows_, kCols) * groups()});
    Tensor<float, 1> offset(scale_.shape());
    bool shifted = false;
    for (Index o = 0; o < rows_; ++o)
      for (Index g = 0; g < groups(); ++g) {
        const float scale = q.scale(o, g);
        require(std::isfinite(scale), "EightBitWeight: scale ", scale, " of (", o, ", ", g, ")");
        scale_(at(o, g)) = scale;
        offset(at(o, g)) = scale * static_cast<float>(shift(o, g));
        shifted = shifted || shift(o, g) != 0;
      }
    if (shifted) offset_ = std::move(offset);
  }

  Tensor<std::int8_t, 1> codes_;
  Tensor<float, 1> scale_, offset_;
  Index rows_, cols_, group_;
};

namespace detail {

/// Calls use(g, begin, end) for the parts of the inputs [k, end) of each group; padding is of the
/// last one.
template <class A, class Use>
[[gnu::always_inline]] inline void for_groups(const EightBitWeight<A>& w, Index k, Index end,
                                              Use use) noexcept {
  while (k < end) {
    const Index g = std::min(k / w.group(), w.groups() - 1);
    const Index stop = g + 1 == w.groups() ? end : std::min((g + 1) * w.group(), end);
    use(g, k, stop);
    k = stop;
  }
}

/// The codes of a register of outputs.
template <class A>
[[gnu::always_inline]] inline Vec<float, A> float_codes(const std::int8_t* p) noexcept {
  return xsimd::to_float(load_bytes<A>(p));
}

}  // namespace detail

/// What decoded_product.hpp asks of a weight.
template <class A>
void decode_panel(const EightBitWeight<A>& w, Index panel, Index k, Index steps,
                  float* to) noexcept {
  using V = Vec<float, A>;
  constexpr Index W = kWidth<float, A>, NR = EightBitWeight<A>::kCols;
  const auto* codes = w.codes(panel) + k * NR;
  detail::for_groups(w, k, k + steps, [&](Index g, Index begin, Index end) {
    const float* scale = w.scale(panel, g);
    const float* offset = w.has_offset() ? w.offset(panel, g) : nullptr;
    for (Index i = begin; i < end; ++i, codes += NR, to += NR)
#pragma GCC unroll 4
      for (Index v = 0; v < NR; v += W) {
        const V start = offset != nullptr ? load<A>(offset + v) : V(0.f);
        store<A>(to + v, mul_add(load<A>(scale + v), detail::float_codes<A>(codes + v), start));
      }
  });
}

template <class A>
void panel_gemv(const EightBitWeight<A>& w, Index panel, const float* x, float* sums) noexcept {
  using V = Vec<float, A>;
  constexpr Index W = kWidth<float, A>, NR = EightBitWeight<A>::kCols;
  constexpr int NV = weft::detail::kTileVectors<A>;
  V total[NV];
  for (V& t : total) t = V(0.f);
  const auto* codes = w.codes(panel);
  detail::for_groups(w, 0, w.padded_cols(), [&](Index g, Index begin, Index end) {
    V part[NV];
    for (V& p : part) p = V(0.f);
    float of_x = 0;
    for (Index k = begin; k < end; ++k, codes += NR) {
      of_x += x[k];
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v)
        part[v] = mul_add(V(x[k]), detail::float_codes<A>(codes + v * W), part[v]);
    }
    for (int v = 0; v < NV; ++v) {
      total[v] = mul_add(load<A>(w.scale(panel, g) + v * W), part[v], total[v]);
      if (w.has_offset())
        total[v] = mul_add(load<A>(w.offset(panel, g) + v * W), V(of_x), total[v]);
    }
  });
  for (int v = 0; v < NV; ++v) store<A>(sums + v * W, total[v]);
}

template <class A = DefaultArch>
class EightBitOperator : public detail::OperatorVerbs<EightBitOperator<A>, A> {
 public:
  explicit EightBitOperator(EightBitWeight<A> weight, View<const float, 1> bias = {},
                            View<const std::int32_t, 1> order = {})
      : weight_(std::move(weight)),
        bias_(detail::copy_bias(bias, weight_.rows())),
        order_(order, weight_.cols()) {}

  Index rows() const noexcept { return weight_.rows(); }
  Index cols() const noexcept { return weight_.cols(); }
  Index bytes() const noexcept { return weight_.bytes() + 4 * bias_.size() + order_.bytes(); }
  const EightBitWeight<A>& weight() const noexcept { return weight_; }

 private:
  friend class detail::OperatorVerbs<EightBitOperator<A>, A>;

  template <class S, class Y, class E>
  void multiply(const View<const S, 2>& x, const View<Y, 2>& y, const E& epilogue,
                const Context& ctx) const {
    const View<const S, 2> ordered = order_.apply(x, ctx);
    detail::with_bias(bias_, epilogue, [&](const auto& after) {
      detail::multiply_decoded<EightBitWeight<A>, S>(ordered, weight_, y, after, ctx);
    });
  }

  EightBitWeight<A> weight_;
  Tensor<float, 1> bias_;
  detail::InputOrder order_;
};

static_assert(FusedOperator<EightBitOperator<>>);

}  // namespace weft::quant
