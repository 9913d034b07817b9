#pragma once

#include <weft/quant/int8_operator.hpp>

#include <vector>

/// LLM.int8(): 8-bit integers but for the few channels of activations that hold outliers.
///
///   outliers          columns of x with an element of magnitude >= threshold in any row of the
///   call sx[m]             max of |x[m, k]| below the threshold / 127, in outlier columns too
///   codes             rint(x / sx), 0 in outlier columns; of the weight as in Int8Operator
///   y                 = epilogue(sx sw (product of codes) + x[:, outliers] W[:, outliers]^T +
///   bias)
///
/// The second product is in floats; its W is the decoded one, or the exact one if that is kept,
/// which takes 4 bytes per weight more. Without outliers, or with threshold 0, it is
/// Int8Operator. The threshold of the paper, and the default, is 6.
///
/// The columns are those of the whole call: the result for a row depends on the rows beside it. A
/// row with a NaN gives NaN. Costs 2 n in out operations on integers and 2 n out |outliers| on
/// floats, and two more passes over x.
///
/// Paper: Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale",
/// arXiv 2208.07339.
namespace weft::quant {

enum class OutlierWeights { decoded, exact };

template <class A = DefaultArch>
class LlmInt8Operator : public detail::OperatorVerbs<LlmInt8Operator<A>, A> {
 public:
  /// weight [out, in], bias [out] or none. Throws as Int8Operator does, and on a threshold that is
  /// negative or NaN.
  explicit LlmInt8Operator(View<const float, 2> weight, View<const float, 1> bias = {},
                           float threshold = 6, OutlierWeights keep = OutlierWeights::decoded)
      : LlmInt8Operator(quantize(weight, Scheme{}), bias, threshold) {
    if (keep == OutlierWeights::decoded) return;
    exact_ = Tensor<float, 2>({weight.extent(1), weight.extent(0)});
    for (Index k = 0; k < exact_.extent(0); ++k)
      for (Index o = 0; o < exact_.extent(1); ++o) exact_(k, o) = weight(o, k);
  }

  /// Takes codes as they are: see Int8Weight.
  explicit LlmInt8Operator(const QuantizedMatrix<std::int8_t>& weight,
                           View<const float, 1> bias = {}, float threshold = 6)
      : weight_(weight, bias), threshold_(threshold) {
    require(threshold >= 0, "LlmInt8Operator: a threshold of ", threshold);
  }

  Index rows() const noexcept { return weight_.rows(); }
  Index cols() const noexcept { return weight_.cols(); }
  Index bytes() const noexcept { return weight_.bytes() + 4 * exact_.size(); }

  /// The columns of x that are multiplied as floats, ascending.
  template <class X>
  std::vector<Index> outliers(View<X, 2> x) const {
    std::vector<Index> columns;
    if (threshold_ == 0) return columns;
    std::vector<bool> found(static_cast<std::size_t>(x.extent(1)), false);
    for (Index m = 0; m < x.extent(0); ++m)
      for (Index k = 0; k < x.extent(1); ++k)
        if (is_outlier(static_cast<float>(x(m, k)))) found[static_cast<std::size_t>(k)] = true;
    for (Index k = 0; k < x.extent(1); ++k)
      if (found[static_cast<std::size_t>(k)]) columns.push_back(k);
    return columns;
  }

 private:
  friend class detail::OperatorVerbs<LlmInt8Operator<A>, A>;

  static constexpr std::int32_t kUnsigned = 128;

  template <class S, class Y, class E>
  void multiply(const View<const S, 2>& x, const View<Y, 2>& y, const E& epilogue,
                const Context& ctx) const {
    const TokenCodes tokens = weight_.tokens(x.extent(0), ctx.arena());
    const auto columns = outliers(x);
    if (columns.empty()) {
      encode_tokens<A, S>(x, nullptr, kUnsigned, tokens, ctx);
      return weight_.multiply(tokens, kUnsigned, y, epilogue, ctx);
    }
    encode_others(x, columns, tokens, ctx);
    const View<float, 2> exact = multiply_outliers(x, columns, ctx);
    weight_.multiply(tokens, kUnsigned, y, Then{AddResidual<float>{exact}, epilogue}, ctx);
  }

  bool is_outlier(float x) const noexcept { return std::abs(x) >= threshold_; }

  /// Codes of the rows with 0 in the outlier columns, on grids of what is below the threshold.
  template <class X>
  void encode_others(const View<X, 2>& x, const std::vector<Index>& columns,
                     const TokenCodes& tokens, const Context& ctx) const {
    const Index n = x.extent(0);
    float* row = ctx.arena().template take<float>(cols());
    for (Index m = 0; m < n; ++m) {
      for (Index k = 0; k < cols(); ++k) {
        const float v = static_cast<float>(x(m, k));
        row[k] = is_outlier(v) ? 0.f : v;
      }
      const auto grid = detail::token_grid<A>(row, cols());
      for (const Index k : columns) row[k] = 0;
      std::uint8_t* codes = tokens.codes + m * tokens.stride;
      detail::encode_row<A>(row, cols(), grid, kUnsigned, codes);
      std::fill(codes + cols(), codes + tokens.stride, std::uint8_t{0});
      tokens.scale[m] = grid.scale;
    }
  }

  /// x[:, columns] W[:, columns]^T
  template <class X>
  View<float, 2> multiply_outliers(const View<X, 2>& x, const std::vector<Index>& columns,
                                   const Context& ctx) const {
    const Index n = x.extent(0), count = static_cast<Index>(columns.size());
    const View<float, 2> left(ctx.arena().template take<float>(n * count), {n, count});
    const View<float, 2> right(ctx.arena().template take<float>(count * rows()), {count, rows()});
    const View<float, 2> out(ctx.arena().template take<float>(n * rows()), {n, rows()});
    for (Index i = 0; i < count; ++i) {
      const Index k = columns[static_cast<std::size_t>(i)];
      for (Index m = 0; m < n; ++m) left(m, i) = static_cast<float>(x(m, k));
      for (Index o = 0; o < rows(); ++o)
        right(i, o) = exact_.size() != 0
                          ? exact_(k, o)
                          : weight_.scale()(o) * static_cast<float>(weight_.codes()(k, o));
    }
    gemm<A>(left, right, out, ctx);
    return out;
  }

  Int8Weight<A> weight_;
  Tensor<float, 2> exact_;  ///< [in, out], or empty
  float threshold_;
};

static_assert(FusedOperator<LlmInt8Operator<>>);

}  // namespace weft::quant
