#pragma once

#include "reference/gemm.hpp"
#include "support/values.hpp"
#include <weft/core/dtype.hpp>

#include <array>
#include <vector>

/// Matrices in every order in memory, and the error that a product of them may have.
enum class Layout { rows, columns, padded_rows, scattered };

inline const char* name(Layout layout) {
  constexpr const char* kNames[] = {"rows", "columns", "padded rows", "scattered"};
  return kNames[static_cast<int>(layout)];
}

/// An operand of the given shape; `memory` has NaN wherever the view does not reach.
template <class S>
struct Operand {
  std::vector<S> memory;
  weft::View<const S, 2> view;
  reference::Matrix values;

  Operand(weft::Index rows, weft::Index cols, Layout layout, std::uint64_t seed)
      : values(rows, cols) {
    const auto strides = strides_of(rows, cols, layout);
    memory.assign(static_cast<std::size_t>(rows * strides[0] + cols * strides[1] + 1),
                  element<S>(std::numeric_limits<double>::quiet_NaN()));
    const weft::View<S, 2> whole(memory.data(), {rows, cols}, strides);
    const auto numbers = even_values<S, 2>({rows, cols}, seed);
    for (weft::Index r = 0; r < rows; ++r)
      for (weft::Index c = 0; c < cols; ++c) {
        whole(r, c) = numbers(r, c);
        values(r, c) = static_cast<double>(numbers(r, c));
      }
    view = whole;
  }
  Operand(const Operand&) = delete;

  static std::array<weft::Index, 2> strides_of(weft::Index rows, weft::Index cols, Layout layout) {
    switch (layout) {
      case Layout::rows: return {cols, 1};
      case Layout::columns: return {1, rows};
      case Layout::padded_rows: return {cols + 5, 1};
      default: return {2 * cols + 3, 2};
    }
  }
};

inline reference::Matrix magnitudes(reference::Matrix m) {
  for (double& x : m.values) x = std::abs(x);
  return m;
}

/// Largest error of a computed product in units of the bound for it: rounding of K products and
/// sums in `Sum`, and of the result in `S`,  (K + 4) eps(Sum) sum |a b| + eps(S) |c|.
/// operand_epsilon is that of operands that are rounded before they are multiplied. NaN counts as
/// infinite.
template <class Sum, class S>
double error_in_bounds(const weft::View<S, 2>& got, const reference::Matrix& a,
                       const reference::Matrix& b, double operand_epsilon = 0) {
  const auto exact = reference::product(a, b);
  const auto scale = reference::product(magnitudes(a), magnitudes(b));
  const double sum_epsilon =
      static_cast<double>(a.cols + 4) * static_cast<double>(std::numeric_limits<Sum>::epsilon());
  double worst = 0;
  for (weft::Index m = 0; m < a.rows; ++m)
    for (weft::Index n = 0; n < b.cols; ++n) {
      const double bound =
          (sum_epsilon + 2 * operand_epsilon) * scale(m, n) +
          static_cast<double>(std::numeric_limits<S>::epsilon()) * std::abs(exact(m, n)) +
          std::numeric_limits<float>::min();
      const double error = std::abs(static_cast<double>(got(m, n)) - exact(m, n)) / bound;
      worst = error <= worst ? worst : (std::isnan(error) ? HUGE_VAL : error);
    }
  return worst;
}
