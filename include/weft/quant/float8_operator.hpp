#pragma once

#include <weft/layer/operator.hpp>
#include <weft/quant/decoded_product.hpp>
#include <weft/quant/float_codes.hpp>

/// A linear operator with a weight of 8-bit floats (E4M3, E5M2) and a scale per output:
///
///   scale[o]   max |W[o, :]| / largest number of the format
///   code[o, k] of W[o, k] / scale[o], to nearest even, saturating
///   y[m, o]    = epilogue(scale[o] sum_k x[m, k] decode(code[o, k]) + bias[o])
///
/// A byte per weight; nothing but the weight is rounded: relative error of a weight up to 2^-4
/// (E4M3) or 2^-3 (E5M2) of what is normal in its row. Rows of x in bf16 multiply the decoded
/// weight as bf16, which holds these codes exactly; the scale is applied in floats.
///
/// Costs and errors as for FourBitOperator (four_bit_operator.hpp).
///
/// Formats: OCP 8-bit Floating Point Specification; see float_format.hpp.
namespace weft::quant {

/// The weight as bytes in panels [cols][kTileCols], and its scales.
template <FloatFormat F, class A = DefaultArch>
class Float8Weight {
  static_assert(F.bits() == 8);

 public:
  using arch = A;
  static constexpr Index kCols = weft::detail::kTileCols<float, A>;

  /// weight [out, in]. Throws where it is not finite.
  explicit Float8Weight(View<const float, 2> weight)
      : rows_(weight.extent(0)), cols_(weight.extent(1)) {
    allocate();
    for (Index o = 0; o < rows_; ++o) {
      float largest = 0;
      for (Index k = 0; k < cols_; ++k) {
        require(std::isfinite(weight(o, k)), "Float8Weight: ", weight(o, k), " at (", o, ", ", k,
                ")");
        largest = std::max(largest, std::abs(weight(o, k)));
      }
      scale_(o) = largest == 0 ? 1.f : largest / F.max();
      for (Index k = 0; k < cols_; ++k)
        at(o, k) = static_cast<std::uint8_t>(F.encode(weight(o, k) / scale_(o)));
    }
  }

  /// Codes [out, in] and scales [out] that exist already.
  Float8Weight(View<const std::uint8_t, 2> codes, View<const float, 1> scale)
      : rows_(codes.extent(0)), cols_(codes.extent(1)) {
    require(scale.extent(0) == rows_, "Float8Weight: ", scale.extent(0), " scales for ", rows_,
            " rows");
    allocate();
    for (Index o = 0; o < rows_; ++o) {
      require(std::isfinite(scale(o)), "Float8Weight: scale ", scale(o), " of row ", o);
      scale_(o) = scale(o);
      for (Index k = 0; k < cols_; ++k) at(o, k) = codes(o, k);
    }
  }

  Index rows() const noexcept { return rows_; }
  Index cols() const noexcept { return cols_; }
  Index padded_cols() const noexcept { return round_up(cols_, 4); }
  Index bytes() const noexcept { return codes_.size() + 4 * scale_.size(); }

  std::uint8_t code(Index o, Index k) const noexcept { return codes_(position(o, k)); }
  float operator()(Index o, Index k) const noexcept { return scale_(o) * F.decode(code(o, k)); }

  const std::uint8_t* codes(Index panel) const noexcept {
    return codes_.data() + panel * padded_cols() * kCols;
  }
  /// One per output, and zeros up to whole panels.
  const float* scales() const noexcept { return scale_.data(); }

 private:
  void allocate() {
    const Index padded = round_up(rows_, kCols);
    codes_ = Tensor<std::uint8_t, 1>({padded * padded_cols()});
    scale_ = Tensor<float, 1>({padded});
  }
  Index position(Index o, Index k) const noexcept {
    return (o / kCols * padded_cols() + k) * kCols + o % kCols;
  }
  std::uint8_t& at(Index o, Index k) noexcept { return codes_(position(o, k)); }

  Tensor<std::uint8_t, 1> codes_;
  Tensor<float, 1> scale_;
  Index rows_, cols_;
};

/// Without scales: they wait for the sums.
template <FloatFormat F, class A>
void decode_panel(const Float8Weight<F, A>& w, Index panel, Index k, Index steps,
                  float* to) noexcept {
  constexpr Index W = kWidth<float, A>, NR = Float8Weight<F, A>::kCols;
  const auto* from = w.codes(panel) + k * NR;
  for (Index i = 0; i < steps * NR; i += W) store<A>(to + i, load_codes<F, A>(from + i));
}

template <FloatFormat F, class A>
void panel_gemv(const Float8Weight<F, A>& w, Index panel, const float* x, float* sums) noexcept {
  using V = Vec<float, A>;
  constexpr Index W = kWidth<float, A>, NR = Float8Weight<F, A>::kCols;
  constexpr int NV = weft::detail::kTileVectors<A>;
  V part[2][NV];
  for (auto& half : part)
    for (V& p : half) p = V(0.f);
  const auto* from = w.codes(panel);
  for (Index k = 0; k < w.padded_cols(); k += 2)
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i, from += NR)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v)
        part[i][v] = mul_add(V(x[k + i]), load_codes<F, A>(from + v * W), part[i][v]);
  for (int v = 0; v < NV; ++v) store<A>(sums + v * W, part[0][v] + part[1][v]);
}

namespace detail {

/// C(m, n) = scale[n] acc.
struct OutputScale {
  const float* scale;

  template <class V>
  V operator()(V acc, Index, Index col, Index) const noexcept {
    return acc * load<Arch<typename V::arch_type>>(scale + col);
  }
};

}  // namespace detail

template <FloatFormat F = kE4M3, class A = DefaultArch>
class Float8Operator : public detail::OperatorVerbs<Float8Operator<F, A>, A> {
 public:
  explicit Float8Operator(Float8Weight<F, A> weight, View<const float, 1> bias = {})
      : weight_(std::move(weight)), bias_(detail::copy_bias(bias, weight_.rows())) {}
  explicit Float8Operator(View<const float, 2> weight, View<const float, 1> bias = {})
      : Float8Operator(Float8Weight<F, A>(weight), bias) {}

  Index rows() const noexcept { return weight_.rows(); }
  Index cols() const noexcept { return weight_.cols(); }
  Index bytes() const noexcept { return weight_.bytes() + 4 * bias_.size(); }
  const Float8Weight<F, A>& weight() const noexcept { return weight_; }

 private:
  friend class detail::OperatorVerbs<Float8Operator<F, A>, A>;

  template <class S, class Y, class E>
  void multiply(const View<const S, 2>& x, const View<Y, 2>& y, const E& epilogue,
                const Context& ctx) const {
    detail::with_bias(bias_, epilogue, [&](const auto& after) {
      const Then scaled{detail::OutputScale{weight_.scales()}, after};
      detail::multiply_decoded<Float8Weight<F, A>, S>(x, weight_, y, scaled, ctx);
    });
  }

  Float8Weight<F, A> weight_;
  Tensor<float, 1> bias_;
};

static_assert(FusedOperator<Float8Operator<>>);

}  // namespace weft::quant
