#pragma once

#include <weft/attention/softmax/score.hpp>
#include <weft/core/tensor.hpp>

namespace weft {

/// Scores that depend on the offset of two tokens on a grid.
///
/// N = M = rows * columns tokens in raster order, token i at y = i / columns, x = i % columns. A
/// table holds g(h, dy, dx) for every offset of the key from the query, |dy| < rows and
/// |dx| < columns:
///   GridBias     s <- s + g(h, y_j - y_i, x_j - x_i)
///   GridFactor   s <- s * g(h, y_j - y_i, x_j - x_i)
/// For each column of the query the keys' values stand one after the other in raster order, so that
/// a vector of them is one load: columns (2 rows - 1) columns numbers per head, where the full
/// matrix would have (rows columns)^2.
///
/// `f(h, dy, dx)` gives the numbers. Throws where a size is not positive. Time O(size).
template <class T = float, class F>
Tensor<T, 3> grid_table(Index heads, Index rows, Index columns, F f) {
  require(heads >= 1 && rows >= 1 && columns >= 1, "grid_table: ", heads, " heads on a grid of ",
          rows, " x ", columns, "; all must be positive");
  Tensor<T, 3> table({heads, columns, (2 * rows - 1) * columns});
  for (Index h = 0; h < heads; ++h)
    for (Index x = 0; x < columns; ++x)
      for (Index r = 0; r < 2 * rows - 1; ++r)
        for (Index c = 0; c < columns; ++c)
          table(h, x, r * columns + c) = static_cast<T>(f(h, r - (rows - 1), c - x));
  return table;
}

/// What GridBias and GridFactor share: `table` [H or 1, columns, (2 rows - 1) columns].
template <class T>
struct GridTable {
  View<const T, 3> table;
  double per_column;  ///< 1 / columns

  explicit GridTable(View<const T, 3> t) noexcept
      : table(t), per_column(1 / static_cast<double>(t.extent(1))) {}

  Index columns() const noexcept { return table.extent(1); }
  Index rows() const noexcept { return (table.extent(2) / columns() + 1) / 2; }

  /// The values of keys j0, j0 + 1, ... for the query of the row. No integer is divided: that is
  /// slow, and may trap, so that compilers keep it in the loop over the keys. The half keeps the
  /// product away from integers, which makes it exact.
  template <class V>
  V at(const Row& r, Index j0) const noexcept {
    const auto y = static_cast<Index>((static_cast<double>(r.query) + 0.5) * per_column);
    const Index x = r.query - y * columns(), last_row = (table.extent(2) - columns()) / 2;
    const T* first = table.pointer(table.extent(0) == 1 ? 0 : r.head, x);
    return detail::load_keys<V>(first + last_row - y * columns(), 1, r, j0);
  }
  void check(Index, Index heads, Index queries, Index keys) const {
    require(table.extent(1) >= 1 && table.extent(2) % (2 * table.extent(1)) == table.extent(1),
            "grid table ", table, " is none that grid_table makes");
    require(table.extent(0) == 1 || table.extent(0) == heads, "grid table for ", table.extent(0),
            " heads, q has ", heads);
    require(table.extent(2) == 1 || table.stride(2) == 1,
            "grid table: the last axis must have stride 1");
    require(queries == rows() * columns() && keys == queries, "grid of ", rows(), " x ", columns(),
            " tokens, q has ", queries, " and k ", keys);
  }
};

template <class T = float>
struct GridBias : GridTable<T> {
  explicit GridBias(View<const T, 3> t) noexcept : GridTable<T>(t) {}

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return s + this->template at<V>(r, j0);
  }
};
template <class T>
GridBias(View<T, 3>) -> GridBias<std::remove_const_t<T>>;
static_assert(Score<GridBias<float>>);

template <class T = float>
struct GridFactor : GridTable<T> {
  explicit GridFactor(View<const T, 3> t) noexcept : GridTable<T>(t) {}

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return s * this->template at<V>(r, j0);
  }
};
template <class T>
GridFactor(View<T, 3>) -> GridFactor<std::remove_const_t<T>>;
static_assert(Score<GridFactor<float>>);

}  // namespace weft
