#pragma once

#include <weft/layer/operator.hpp>
#include <weft/quant/decoded_product.hpp>
#include <weft/quant/int8_gemm.hpp>
#include <weft/quant/operator_verbs.hpp>
#include <weft/quant/token_codes.hpp>

/// A linear operator whose weight and activations are 8-bit integers (W8A8).
///
///   weight [out, in]   once: codes on the symmetric grid of each output, -127 to 127
///   x [n, in]          at each call: codes on the symmetric grid of each token (dynamic), or on
///   one
///                      affine grid of unsigned bytes found by calibration (static)
///   y[m, o]            = epilogue(sx[m] sw[o] (sum of products of codes, exact) + bias[o])
///
/// It stands in for DenseOperator in any layer or model. It takes a byte per weight, and one pass
/// over x more than the product of integers. The error of y is about 1 % of its root mean square
/// for activations and weights of normal distribution. A token with a NaN or an infinity gives
/// NaN; static grids clip instead. Rows of x have stride 1.
///
/// Threads, shapes and errors as for DenseOperator.
namespace weft::quant {

/// The weight and the bias of an operator on 8-bit integers.
template <class A = DefaultArch>
class Int8Weight {
 public:
  /// Symmetric codes [out, in], one scale per output or for all; bias [out] or none.
  Int8Weight(const QuantizedMatrix<std::int8_t>& weight, View<const float, 1> bias)
      : codes_(weight.codes.view().transpose(0, 1)),
        scale_({weight.codes.extent(0)}),
        bias_(detail::copy_bias(bias, weight.codes.extent(0))) {
    require(weight.zero.size() == 0, "Int8Weight: the weight has zero points, wanted symmetric");
    require(weight.scale.extent(1) == 1 || weight.codes.size() == 0,
            "Int8Weight: the weight has groups of ", weight.block.cols,
            " columns, wanted one scale per row");
    for (Index r = 0; r < rows(); ++r)
      scale_(r) = weight.codes.size() == 0 ? 1.f : weight.grid(r, 0).scale;
  }

  Index rows() const noexcept { return codes_.cols(); }
  Index cols() const noexcept { return codes_.depth(); }
  Index bytes() const noexcept { return codes_.bytes() + 4 * (scale_.size() + bias_.size()); }
  View<const float, 1> scale() const noexcept { return scale_; }
  const PackedInt8<A>& codes() const noexcept { return codes_; }

  /// Memory for the codes of n tokens.
  TokenCodes tokens(Index n, Arena& arena) const {
    const Index stride = 4 * weft::detail::byte_quads<A>(cols());
    return {arena.template take<std::uint8_t>(n * stride), stride, arena.template take<float>(n)};
  }

  /// y = epilogue(product + bias), for tokens whose code for 0 is `zero`.
  template <class Y, class E>
  void multiply(const TokenCodes& tokens, std::int32_t zero, const View<Y, 2>& y, const E& epilogue,
                const Context& ctx) const {
    const Index n = y.extent(0);
    const View<const std::uint8_t, 2> x(tokens.codes, {n, tokens.stride}, {tokens.stride, 1});
    const detail::PerIndex<float> left({tokens.scale, {n}}, 1, n, "x");
    const detail::PerIndex<float> right(scale_.view(), 1, rows(), "the weight");
    const detail::PerIndex<std::int32_t> zeros({}, zero, n, "x"), none({}, 0, rows(), "the weight");
    const detail::Corrected<A> sums{
        codes_.column_sums(), zeros, none, nullptr, 0, static_cast<std::int32_t>(cols())};
    const detail::Rescaled<A> reals{sums, left, right};
    detail::with_bias(bias_, epilogue, [&](const auto& after) {
      detail::multiply_bytes(x, codes_, y, Then{reals, after}, ctx);
    });
  }

 private:
  PackedInt8<A> codes_;
  Tensor<float, 1> scale_, bias_;
};

template <class A = DefaultArch>
class Int8Operator : public detail::OperatorVerbs<Int8Operator<A>, A> {
 public:
  /// Quantizes the weight. Throws where it is not finite, or the bias does not fit.
  explicit Int8Operator(View<const float, 2> weight, View<const float, 1> bias = {})
      : Int8Operator(quantize(weight, Scheme{}), bias) {}

  /// Takes the codes that another method has chosen: see Int8Weight.
  explicit Int8Operator(const QuantizedMatrix<std::int8_t>& weight, View<const float, 1> bias = {})
      : weight_(weight, bias) {}

  /// From here on all activations are on this grid, of codes within 0 to 255.
  void fix_activations(const AffineGrid<float>& grid) {
    require(grid.codes.low >= 0 && grid.codes.high <= 255, "Int8Operator: activations of codes ",
            grid.codes.low, " to ", grid.codes.high, ", wanted unsigned bytes");
    require(std::isfinite(grid.scale) && grid.scale > 0, "Int8Operator: an activation scale of ",
            grid.scale);
    fixed_ = grid;
    is_fixed_ = true;
  }

  Index rows() const noexcept { return weight_.rows(); }
  Index cols() const noexcept { return weight_.cols(); }
  /// Bytes of the weight, its scales and the bias.
  Index bytes() const noexcept { return weight_.bytes(); }

 private:
  friend class detail::OperatorVerbs<Int8Operator<A>, A>;

  static constexpr std::int32_t kUnsigned = 128;  ///< makes bytes unsigned, for the kernels

  template <class S, class Y, class E>
  void multiply(const View<const S, 2>& x, const View<Y, 2>& y, const E& epilogue,
                const Context& ctx) const {
    const TokenCodes tokens = weight_.tokens(x.extent(0), ctx.arena());
    encode_tokens<A, S>(x, is_fixed_ ? &fixed_ : nullptr, is_fixed_ ? 0 : kUnsigned, tokens, ctx);
    weight_.multiply(tokens, is_fixed_ ? fixed_.zero : kUnsigned, y, epilogue, ctx);
  }

  Int8Weight<A> weight_;
  AffineGrid<float> fixed_ = {};
  bool is_fixed_ = false;
};

static_assert(FusedOperator<Int8Operator<>>);

}  // namespace weft::quant
