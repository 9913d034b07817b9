#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/simd.hpp>
#include <weft/core/view.hpp>

#include <algorithm>
#include <array>

/// Walks the rows of arrays: all axes but the last, in row-major order, with any strides.
namespace weft::detail {

/// Number of rows of a view.
template <class T, std::size_t Rank>
Index row_count(const View<T, Rank>& view) noexcept {
  Index rows = 1;
  for (std::size_t axis = 0; axis + 1 < Rank; ++axis) rows *= view.extent(axis);
  return rows;
}

/// Points at one row and steps to the next without dividing.
template <class T, std::size_t Rank>
class RowCursor {
 public:
  RowCursor(const View<T, Rank>& view, Index row) noexcept : view_(view), row_(view.data()) {
    for (std::size_t axis = Rank - 1; axis-- > 0;) {
      at_[axis] = row % view.extent(axis);
      row /= view.extent(axis);
      row_ += at_[axis] * view.stride(axis);
    }
  }

  T* operator*() const noexcept { return row_; }

  void operator++() noexcept {
    for (std::size_t axis = Rank - 1; axis-- > 0;) {
      row_ += view_.stride(axis);
      if (++at_[axis] < view_.extent(axis)) return;
      row_ -= at_[axis] * view_.stride(axis);
      at_[axis] = 0;
    }
  }

 private:
  View<T, Rank> view_;
  std::array<Index, Rank> at_{};
  T* row_;
};

/// Elements per task: large enough to outweigh handing out a task, small enough to balance.
inline constexpr Index kRowTask = 32768;

/// Calls f(row, pointers...) for every row of views of equal leading extents. Tasks depend on the
/// shape of the first view alone.
template <class F, class T, std::size_t Rank, class... Others>
void for_each_row(const Context& ctx, F f, const View<T, Rank>& first, const Others&... others) {
  const Index rows = row_count(first);
  const Index block = std::max<Index>(1, kRowTask / std::max<Index>(1, first.extent(Rank - 1)));
  ctx.parallel(ceil_div(rows, block), [&](Index task, Arena&) {
    const Index begin = task * block, end = std::min(begin + block, rows);
    const auto walk = [&](auto... cursors) {
      for (Index row = begin; row < end; ++row) {
        f(row, *cursors...);
        (++cursors, ...);
      }
    };
    walk(RowCursor(first, begin), RowCursor(others, begin)...);
  });
}

/// Throws unless two arguments of `verb` have the same shape and contiguous rows.
template <class T, class U, std::size_t Rank>
void require_same_rows(const char* verb, const char* a_name, const View<T, Rank>& a,
                       const char* b_name, const View<U, Rank>& b) {
  require(a.shape() == b.shape(), verb, ": ", b_name, " is ", b, ", ", a_name, " is ", a,
          "; give both the same shape");
  require(a.extent(Rank - 1) <= 1 || (a.stride(Rank - 1) == 1 && b.stride(Rank - 1) == 1), verb,
          ": the last axis of ", a_name, " and ", b_name, " must be contiguous");
}

}  // namespace weft::detail
