#pragma once

#include <weft/core/pack.hpp>
#include <weft/core/view.hpp>

#include <array>

/// What the loop nest of gemm_blocked.hpp is built from: a kernel says how operands are packed and
/// multiplies one register tile of them.
///
///   Sum, Element               type of the sums; what packed operands consist of
///   Op                         one step along the depth on vectors: see register_tile
///   kRows, kCols, kDepthBlock  largest tile; elements of the depth that one pass over C takes
///   kNumbers, depth(k)         numbers in an element; elements that k numbers become
///   height(rows)               rows of all tiles but the last in a cut of `rows` rows
///   touched(rows)              rows that a tile of `rows` rows writes
///   tile_size(depth, rows)     elements to reserve for one packed tile of A
///   pack_tile, pack_panels     operands, from views; a packed tile of one row is that row
///   at(tile, rows, k)          element k of the depth in a packed tile of `rows` rows
///   multiply(...)              C[rows x cols] (+)= A B, up to touched(rows) x kCols being written
///   Session                    what a task holds while it multiplies
namespace weft::detail {

/// C[rows x cols] (+)= A B on vectors, for rows up to kTileRows and cols up to a panel; what is
/// computed may be half a panel. All heights and widths sum in the order of the depth.
template <class A, class T, class Op>
void vector_tile(Index rows, Index cols, Index depth, const typename Op::Element* a,
                 const typename Op::Element* panel, T* c, Index ldc, bool accumulate,
                 PrefetchAhead prefetch) noexcept {
  using Element = typename Op::Element;
  using Tile = void (*)(Index, const Element*, const Element*, Index, T*, Index, bool,
                        PrefetchAhead) noexcept;
  static constexpr auto tiles_of = []<int NV, int... I>(std::integer_sequence<int, NV, I...>) {
    return std::array<Tile, sizeof...(I)>{
        register_tile < A,  I == 0 ? 1 : 2 * I, NV, BlockedRows<kWidth<T, A>>, T, Op,
        PrefetchAhead > ...};
  };
  static constexpr int kWide = kTileVectors<A>, kNarrow = kWide == 4 ? 2 : kWide;
  static constexpr auto wide = tiles_of(std::integer_sequence<int, kWide, 0, 1, 2, 3>{});
  static constexpr auto narrow = tiles_of(std::integer_sequence<int, kNarrow, 0, 1, 2, 3>{});
  static_assert(wide.size() == kTileRows / 2 + 1);
  const auto height = static_cast<std::size_t>(tile_rows_for(rows) / 2);
  const Tile tile = cols <= kNarrow * kWidth<T, A> ? narrow[height] : wide[height];
  tile(depth, a, panel, kTileCols<T, A>, c, ldc, accumulate, prefetch);
}

/// Multiply-adds of T on vectors.
template <class T, class A>
struct FmaKernel {
  using Arch = A;
  using Sum = T;
  using Element = T;
  using Op = MultiplyAdd<T, A>;
  struct Session {};

  static constexpr Index kRows = kTileRows;
  static constexpr Index kCols = kTileCols<T, A>;
  static constexpr Index kDepthBlock = static_cast<Index>(2048 / sizeof(T));

  static constexpr Index kNumbers = 1;
  static constexpr Index depth(Index k) noexcept { return k; }
  static constexpr Index height(Index rows) noexcept { return RowCut(rows).height; }
  static constexpr Index touched(Index rows) noexcept { return tile_rows_for(rows); }
  static constexpr Index tile_size(Index depth, Index rows) noexcept {
    return row_tile_size<T, A>(depth, touched(rows));
  }

  template <class S>
  static void pack_tile(const View<const S, 2>& a, T* tile) noexcept {
    pack_row_tile<A>(a.data(), a.stride(0), a.stride(1), a.extent(0), a.extent(1),
                     touched(a.extent(0)), tile);
  }
  template <class S>
  static void pack_panels(const View<const S, 2>& b, Index depth, T* panels,
                          Index stride) noexcept {
    pack_cols<A>(b.data(), b.stride(0), b.stride(1), depth, b.extent(1), panels, stride);
  }

  static const T* at(const T* tile, Index rows, Index k) noexcept {
    return tile + k * touched(rows);
  }

  static void multiply(Index rows, Index cols, Index depth, const T* a, const T* panel, T* c,
                       Index ldc, bool accumulate, PrefetchAhead prefetch) noexcept {
    vector_tile<A, T, Op>(rows, cols, depth, a, panel, c, ldc, accumulate, prefetch);
  }
};

}  // namespace weft::detail
