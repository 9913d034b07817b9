#pragma once

#include <weft/core/gemm.hpp>

#include <utility>

/// Pseudo-inverses of small square matrices by products alone.
///
/// Iterations that begin with X = alpha A^T converge to the pseudo-inverse of A where
/// 0 < alpha |A|^2 < 2 for the largest singular value |A|. Small singular values take long: each
/// step of Newton's only doubles the share of 1 / s that is there.
namespace weft::detail {

/// unit 1 + linear values + product acc, with the unit matrix 1.
template <class T>
struct Quadratic {
  View<const T, 2> values;
  double unit, linear, product;

  template <class V>
  V operator()(V acc, Index row, Index col, Index lanes) const noexcept {
    using Lane = typename V::value_type;
    Lane diagonal[V::size] = {};
    if (row >= col && row < col + lanes) diagonal[row - col] = static_cast<Lane>(unit);
    const V x = load_lanes<V>(values.pointer(row) + col, lanes);
    const V rest = mul_add(V(static_cast<Lane>(linear)), x, V::load_unaligned(diagonal));
    return mul_add(V(static_cast<Lane>(product)), acc, rest);
  }
};
static_assert(Epilogue<Quadratic<float>> && Epilogue<Quadratic<double>, double>);

/// Sums of the rows and of the columns of a matrix of numbers that are not negative, the largest of
/// each.
struct LargestSums {
  double row = 0, column = 0;

  template <class T>
  static LargestSums of(const View<const T, 2>& a) {
    LargestSums sums;
    for (Index i = 0; i < a.extent(0); ++i) {
      double row = 0, column = 0;
      for (Index j = 0; j < a.extent(1); ++j) {
        row += static_cast<double>(a(i, j));
        column += static_cast<double>(a(j, i));
      }
      sums.take({row, column});
    }
    return sums;
  }
  void take(const LargestSums& other) noexcept {
    row = std::max(row, other.row);
    column = std::max(column, other.column);
  }
};

/// Newton-Raphson, also Schulz: X <- 2 X - X A X, `steps` times. a, x and the result [n, n], which
/// is x or other scratch memory of the arena.
template <class A, class T>
View<T, 2> newton_inverse(View<const T, 2> a, View<T, 2> x, int steps, const Context& ctx) {
  View<T, 2> next(ctx.arena().template take<T>(x.size()), x.shape());
  const View<T, 2> product(ctx.arena().template take<T>(x.size()), x.shape());
  for (int i = 0; i < steps; ++i) {
    gemm<A>(a, x, product, ctx);
    gemm<A>(x, product, next, Quadratic<T>{x, 0, 2, -1}, ctx);
    std::swap(x, next);
  }
  return x;
}

/// A step of the fourth order with Y = A X:  X <- X (13 - Y (15 - Y (7 - Y))) / 4.
template <class A, class T>
View<T, 2> fourth_order_inverse(View<const T, 2> a, View<T, 2> x, int steps, const Context& ctx) {
  const auto room = [&] { return View<T, 2>(ctx.arena().template take<T>(x.size()), x.shape()); };
  const View<T, 2> y = room(), outer = room();
  View<T, 2> inner = room();
  for (int i = 0; i < steps; ++i) {
    gemm<A>(a, x, y, ctx);
    gemm<A>(y, y, inner, Quadratic<T>{y, 15, -7, 1}, ctx);
    gemm<A>(y, inner, outer, Quadratic<T>{y, 13.0 / 4, 0, -1.0 / 4}, ctx);
    gemm<A>(x, outer, inner, ctx);
    std::swap(x, inner);
  }
  return x;
}

}  // namespace weft::detail
