#pragma once

#include <weft/core/pack.hpp>
#include <weft/core/view.hpp>

/// What the loop nest of gemm_blocked.hpp is built from: a kernel says how operands are packed and
/// multiplies one register tile of them.
///
///   Sum, Left, Element         type of the sums; what A and B consist of
///   Op                         one step along the depth on vectors: see register_tile
///   kRows, kCols, kDepthBlock  largest tile; elements of the depth that one pass over C takes
///   kNumbers, depth(k)         numbers in an Element; Elements that k numbers become
///   kLefts                     of A for each Element along the depth
///   touched(rows)              rows that a tile of `rows` rows reads and writes
///   pack_rows, pack_panels     operands, from views: A row-major, B in panels of kCols columns
///   multiply(...)              C[rows x cols] (+)= A B, up to touched(rows) x kCols being written
///   Session                    what a task holds while it multiplies
namespace weft::detail {

/// C[rows x cols] (+)= A B for a panel of B on vectors. For few columns half a panel is computed.
/// All heights and widths sum in the order of the depth.
template <class A, class Op, class T>
void panel_product(Index rows, Index cols, Index depth, const typename Op::Left* a, Index lda,
                   const typename Op::Element* panel, T* c, Index ldc, bool accumulate,
                   PrefetchAhead prefetch) noexcept {
  constexpr int kWide = kTileVectors<A>, kNarrow = kWide == 4 ? 2 : kWide;
  constexpr Index NR = kTileCols<T, A>;
  if (cols > kNarrow * kWidth<T, A>)
    rows_product<A, kWide, Op>(rows, depth, a, lda, panel, NR, c, ldc, accumulate, prefetch);
  else
    rows_product<A, kNarrow, Op>(rows, depth, a, lda, panel, NR, c, ldc, accumulate, prefetch);
}

/// Multiply-adds of T on vectors.
template <class T, class A>
struct FmaKernel {
  using Arch = A;
  using Sum = T;
  using Left = T;
  using Element = T;
  using Op = MultiplyAdd<T, A>;
  struct Session {};

  static constexpr Index kRows = kTileRows;
  static constexpr Index kCols = kTileCols<T, A>;
  static constexpr Index kDepthBlock = static_cast<Index>(2048 / sizeof(T));

  static constexpr Index kNumbers = 1;
  static constexpr Index kLefts = 1;
  static constexpr Index depth(Index k) noexcept { return k; }
  static constexpr Index touched(Index rows) noexcept { return rows; }

  template <class S>
  static void pack_rows(const View<const S, 2>& a, T* rows, Index ld) noexcept {
    detail::pack_rows<A>(a.data(), a.stride(0), a.stride(1), a.extent(0), a.extent(1), rows, ld);
  }
  template <class S>
  static void pack_panels(const View<const S, 2>& b, Index depth, T* panels,
                          Index stride) noexcept {
    pack_cols<A>(b.data(), b.stride(0), b.stride(1), depth, b.extent(1), panels, stride);
  }

  static void multiply(Index rows, Index cols, Index depth, const T* a, Index lda, const T* panel,
                       T* c, Index ldc, bool accumulate, PrefetchAhead prefetch) noexcept {
    panel_product<A, Op>(rows, cols, depth, a, lda, panel, c, ldc, accumulate, prefetch);
  }
};

}  // namespace weft::detail
