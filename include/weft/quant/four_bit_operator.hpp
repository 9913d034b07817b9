#pragma once

#include <weft/layer/operator.hpp>
#include <weft/quant/decoded_product.hpp>
#include <weft/quant/four_bit_int8.hpp>
#include <weft/quant/input_order.hpp>

/// A linear operator with a weight in 4 bits: y[m, o] = epilogue(sum_k x[m, k] W[o, k] + bias[o]).
///
///   Inputs::exact   x as it is. Floats multiply the decoded weight in floats; bf16 x multiplies
///                   the weight rounded to bf16, by AMX or AVX-512 BF16 where there is one
///   Inputs::int8    x on the symmetric 8-bit grid of each token, exact integer products within
///                   each group: for weights whose table is one of integers
///
/// The weight may be of any format that FourBitWeight holds: integers of GPTQ, AWQ or plain
/// rounding, NF4, FP4. `order`, if given, is a permutation: column k of the weight is the input
/// order[k] of x, as GPTQ leaves it after sorting columns.
///
/// Costs the 2 n out in operations of a dense operator plus decoding, once for about 1 MB of rows
/// of x; of one row, the bytes of the weight over the bandwidth. Rows of x have stride 1. Throws as
/// DenseOperator does.
namespace weft::quant {

enum class Inputs { exact, int8 };

template <class A = DefaultArch>
class FourBitOperator : public detail::OperatorVerbs<FourBitOperator<A>, A> {
 public:
  explicit FourBitOperator(FourBitWeight<A> weight, View<const float, 1> bias = {},
                           Inputs inputs = Inputs::exact, View<const std::int32_t, 1> order = {})
      : weight_(std::move(weight)),
        bias_(detail::copy_bias(bias, weight_.rows())),
        order_(order, weight_.cols()),
        inputs_(inputs) {
    require(inputs == Inputs::exact || weight_.is_integer(),
            "FourBitOperator: 8-bit inputs need a weight of integers");
  }

  Index rows() const noexcept { return weight_.rows(); }
  Index cols() const noexcept { return weight_.cols(); }
  Index bytes() const noexcept { return weight_.bytes() + 4 * bias_.size() + order_.bytes(); }
  const FourBitWeight<A>& weight() const noexcept { return weight_; }

 private:
  static constexpr Index kCols = FourBitWeight<A>::kCols;

  friend class detail::OperatorVerbs<FourBitOperator<A>, A>;

  template <class S, class Y, class E>
  void multiply(const View<const S, 2>& x, const View<Y, 2>& y, const E& epilogue,
                const Context& ctx) const {
    const View<const S, 2> ordered = order_.apply(x, ctx);
    detail::with_bias(bias_, epilogue, [&](const auto& after) {
      if (inputs_ == Inputs::int8)
        multiply_int8<S>(ordered, y, after, ctx);
      else
        detail::multiply_decoded<FourBitWeight<A>, S>(ordered, weight_, y, after, ctx);
    });
  }

  template <class S, class Y, class E>
  void multiply_int8(const View<const S, 2>& x, const View<Y, 2>& y, const E& epilogue,
                     const Context& ctx) const {
    const Index n = x.extent(0), stride = 4 * weight_.quads();
    Arena& shared = ctx.arena();
    const TokenCodes tokens{shared.take<std::uint8_t>(n * stride), stride, shared.take<float>(n)};
    encode_tokens<A, S>(x, nullptr, 0, tokens, ctx);
    auto* sums_of_groups = shared.take<std::int32_t>(n * weight_.groups());
    detail::sum_groups(tokens, n, cols(), weight_.group(), sums_of_groups);
    const detail::GroupedTokens grouped{reinterpret_cast<const detail::ByteQuad*>(tokens.codes),
                                        weight_.quads(), sums_of_groups, weight_.groups()};
    const Then scaled{TokenScale{tokens.scale}, epilogue};
    detail::for_panels(weight_, 2 * n * stride * kCols, ctx, [&](Index j, Arena& arena) {
      Arena::Frame frame(arena);
      alignas(64) float sums[weft::detail::kTileRows * kCols];
      if (n == 1) {
        detail::grouped_gemv(weight_, j, grouped, sums);
        return detail::store_panel<A>(sums, y, 0, 1, j, scaled);
      }
      auto* quads = arena.take<detail::ByteQuad>(weight_.quads() * kCols);
      detail::decode_quads(weight_, j, quads);
      detail::grouped_product(weight_, j, quads, grouped, n, sums,
                              [&](Index row, Index count, const float* done) {
                                detail::store_panel<A>(done, y, row, count, j, scaled);
                              });
    });
  }

  /// C(m, n) = scale[m] acc.
  struct TokenScale {
    const float* scale;
    template <class V>
    V operator()(V acc, Index row, Index, Index) const noexcept {
      return acc * V(scale[row]);
    }
  };

  FourBitWeight<A> weight_;
  Tensor<float, 1> bias_;
  detail::InputOrder order_;
  Inputs inputs_;
};

static_assert(FusedOperator<FourBitOperator<>>);

}  // namespace weft::quant
