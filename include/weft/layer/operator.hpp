#pragma once

#include <weft/core/gemm.hpp>
#include <weft/core/tensor.hpp>

#include <algorithm>
#include <concepts>
#include <utility>

namespace weft {

/// Something that multiplies activations by a weight: y[n, rows] = x[n, cols] W^T, maybe + bias.
///
/// This is what layers, blocks and models are templates of, so that quantizing or pruning a model
/// is a change of type. W is [rows, cols], as PyTorch stores it; n may be zero; x and y have
/// contiguous rows and do not overlap. `apply` throws where shapes disagree, before it writes.
template <class O, class T = float>
concept Operator = requires(const O& op, View<const T, 2> x, View<T, 2> y, const Context& ctx) {
  { op.rows() } -> std::convertible_to<Index>;
  { op.cols() } -> std::convertible_to<Index>;
  op.apply(x, y, ctx);
};

/// An operator that applies an epilogue (core/epilogue.hpp) to its product on the way to memory.
template <class O, class T = float>
concept FusedOperator =
    Operator<O, T> && requires(const O& op, View<const T, 2> x, View<T, 2> y, const Context& ctx) {
      op.apply(x, y, AddResidual<T>{y}, ctx);
    };

/// A dense weight, packed once for the matrix product, and an optional bias.
///
/// T is the type in which the weight is stored: float, double, or bf16, of which x of floats meets
/// the exact values (see core/packed_matrix.hpp). Applying it costs 2 n rows cols operations and
/// allocates only scratch memory.
template <class T = float, class A = DefaultArch>
class DenseOperator {
 public:
  using Parameter = Accumulator<T>;

  /// weight [rows, cols] with any strides; bias [rows], or empty for none. Throws where they
  /// differ.
  explicit DenseOperator(View<const T, 2> weight, View<const Parameter, 1> bias = {})
      : weight_(weight.transpose(0, 1)), rows_(weight.extent(0)), cols_(weight.extent(1)) {
    if (bias.data() == nullptr) return;
    require(bias.extent(0) == rows_, "DenseOperator: bias has ", bias.extent(0),
            " values, the weight has ", rows_, " rows");
    bias_ = Tensor<Parameter, 1>({rows_});
    for (Index r = 0; r < rows_; ++r) bias_(r) = bias(r);
  }

  Index rows() const noexcept { return rows_; }
  Index cols() const noexcept { return cols_; }

  template <class X, class Y>
  void apply(View<X, 2> x, View<Y, 2> y, const Context& ctx = Context{}) const {
    apply(x, y, NoEpilogue{}, ctx);
  }

  template <class X, class Y, Epilogue<Parameter, A> E>
  void apply(View<X, 2> x, View<Y, 2> y, const E& epilogue, const Context& ctx = Context{}) const {
    require(x.extent(1) == cols_ && y.extent(1) == rows_ && x.extent(0) == y.extent(0),
            "operator of ", rows_, " rows and ", cols_, " columns: x is ", x, ", y is ", y,
            "; wanted [n, ", cols_, "] and [n, ", rows_, "]");
    if (bias_.size() == 0) {
      gemm(x, weight_, y, epilogue, ctx);
    } else {
      gemm(x, weight_, y, Then{Bias{bias_.view()}, epilogue}, ctx);
    }
  }

 private:
  PackedMatrix<T, A> weight_;
  Tensor<Parameter, 1> bias_;
  Index rows_, cols_;
};

/// Weights of operators on the same input, one below the other, to be one operator: queries, keys
/// and values, or gate and up of a gated feed-forward. Throws when the widths differ.
template <class T, class... Others>
Tensor<T, 2> stack_rows(const Tensor<T, 2>& first, const Others&... others) {
  const Index cols = first.extent(1);
  Tensor<T, 2> out({(first.extent(0) + ... + others.extent(0)), cols});
  T* to = out.data();
  const auto append = [&](const Tensor<T, 2>& part) {
    require(part.extent(1) == cols, "stack_rows: a weight has ", part.extent(1),
            " columns, the first has ", cols);
    to = std::copy_n(part.data(), part.size(), to);
  };
  append(first);
  (append(others), ...);
  return out;
}

}  // namespace weft
