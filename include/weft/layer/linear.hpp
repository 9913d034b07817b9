#pragma once

#include <weft/layer/operator.hpp>

namespace weft {

namespace detail {

/// All axes but the last as one. Throws unless one stride leads from each row to the next.
template <class T, std::size_t Rank>
View<T, 2> as_rows(const char* name, const View<T, Rank>& view) {
  static_assert(Rank >= 1);
  Index rows = 1, stride = 0;
  for (std::size_t axis = Rank - 1; axis-- > 0;) {
    if (view.extent(axis) != 1) {
      if (rows == 1) stride = view.stride(axis);
      require(view.stride(axis) == rows * stride || rows == 0, "linear: the leading axes of ", name,
              " ", view, " must follow one another in memory");
    }
    rows *= view.extent(axis);
  }
  return {view.data(), {rows, view.extent(Rank - 1)}, {stride, view.stride(Rank - 1)}};
}

}  // namespace detail

/// A linear layer y = x W^T + b over the last axis of an array of any rank, by any operator:
/// x [..., cols], y [..., rows], equal leading axes that follow one another in memory. It models
/// Operator itself.
template <Operator Op = DenseOperator<float>>
class Linear {
 public:
  explicit Linear(Op op) : op_(std::move(op)) {}

  Index rows() const { return op_.rows(); }
  Index cols() const { return op_.cols(); }
  const Op& op() const noexcept { return op_; }

  template <class X, class Y>
  void apply(const X& x, Y&& y, const Context& ctx = Context{}) const {
    op_.apply(detail::as_rows("x", view_of(x)), detail::as_rows("y", view_of(y)), ctx);
  }

  /// The epilogue sees the rows numbered in row-major order.
  template <class X, class Y, Epilogue E>
  void apply(const X& x, Y&& y, const E& epilogue, const Context& ctx = Context{}) const
    requires FusedOperator<Op>
  {
    op_.apply(detail::as_rows("x", view_of(x)), detail::as_rows("y", view_of(y)), epilogue, ctx);
  }

 private:
  Op op_;
};

}  // namespace weft
