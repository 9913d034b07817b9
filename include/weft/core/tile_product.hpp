#pragma once

#include <weft/core/simd.hpp>

#include <utility>

/// The register tile that all matrix products of weft are made of: GEMM, Q K^T and P V.
///
///   C[R x n] = A[R x K] B[K x n]   or   C += A B,      n = NV * width of a vector
///
/// A is read by broadcast and B by whole vectors, so the R x NV accumulators stay in registers over
/// the depth K and every step costs NV loads, R broadcasts and R * NV multiply-adds.
namespace weft::detail {

/// Rows of the largest register tile.
/// AVX-512: 14 x 2 accumulators + 2 vectors of B + 1 broadcast = 31 of 32 registers; before that
/// 6 x 2 + 2 + 1 = 15 of 16.
template <class A>
inline constexpr int kTileRows = kRegisters<A> == 32 ? 14 : 6;

/// Vectors of one row of the register tile.
inline constexpr int kTileVectors = 2;

/// Columns of the register tile.
template <class T, class A>
inline constexpr Index kTileCols = kTileVectors * kWidth<T, A>;

/// Row counts for which a tile is instantiated; others are rounded up to the next of these, and the
/// caller provides (and then ignores) the rows in between.
constexpr int tile_rows_for(Index rows) noexcept {
  return static_cast<int>(rows <= 2 ? rows : (rows + 1) / 2 * 2);
}

/// A cut of `rows` rows into the fewest register tiles, of heights as equal as possible.
template <class A>
struct RowCut {
  Index tiles;
  Index height;  ///< rows of each tile but the last, which may have fewer

  explicit constexpr RowCut(Index rows) noexcept
      : tiles(ceil_div(rows, kTileRows<A>)),
        height(tiles == 0 ? 0 : tile_rows_for(ceil_div(rows, tiles))) {}
};

/// Rows in blocks of `Steps` along the depth, a power of two: the rows of a block follow one
/// another, so that packing them is a copy and one address serves all of them.
template <Index Steps>
struct BlockedRows {
  template <class T, int R>
  static const T* at(const T* a, int r, Index k) noexcept {
    return a + (k + (k & -Steps) * (R - 1)) + r * Steps;
  }
};

/// A(r, k) at a[r * Ld + k]: row-major with a row length known to the compiler, so that the rows
/// need no registers for their addresses.
template <Index Ld>
struct FixedRows {
  template <class T, int R>
  static const T* at(const T* a, int r, Index k) noexcept {
    return a + r * Ld + k;
  }
};

/// acc + a b on elements of T.
template <class T, class A>
struct MultiplyAdd {
  using Element = T;
  using V = Vec<T, A>;

  [[gnu::always_inline]] static V load(const T* b) noexcept { return weft::load<A>(b); }
  [[gnu::always_inline]] static V broadcast(const T* a) noexcept { return V(*a); }
  [[gnu::always_inline]] static V apply(const V& a, const V& b, const V& acc) noexcept {
    return mul_add(a, b, acc);
  }
};

/// What a register tile asks of memory, beside its own operands, at step k of the depth: nothing.
struct NoPrefetch {
  void operator()(Index) const noexcept {}
};

/// Or a stretch of what comes next, `step` bytes at a time, into the L2 cache: loads that miss it
/// overlap with the arithmetic of a tile that does not.
struct PrefetchAhead {
  const char* next;
  Index step;

  [[gnu::always_inline]] void operator()(Index k) const noexcept {
    __builtin_prefetch(next + k * step, 0, 2);
  }
};

/// One register tile; see the top of the file. ldb and ldc count elements. `Op` says what one step
/// over the depth multiplies: see MultiplyAdd, and DotPairs in tile_bf16.hpp.
template <class A, int R, int NV, class Rows, class T, class Op = MultiplyAdd<T, A>,
          class Prefetch = NoPrefetch>
void register_tile(Index depth, const typename Op::Element* a, const typename Op::Element* b,
                   Index ldb, T* c, Index ldc, bool accumulate, Prefetch prefetch = {}) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  V acc[R][NV];
  if (accumulate) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = load<A>(c + r * ldc + v * W);
  } else {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = V(T(0));
  }
  for (Index k = 0; k < depth; ++k) {
    prefetch(k);
    V bk[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bk[v] = Op::load(b + k * ldb + v * W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V ar = Op::broadcast(Rows::template at<typename Op::Element, R>(a, r, k));
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = Op::apply(ar, bk[v], acc[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store<A>(c + r * ldc + v * W, acc[r][v]);
}

/// A register tile with its height chosen at run time: one of the values of tile_rows_for.
template <class A, int NV, class Rows, class T, class Op, int R = kTileRows<A>>
void register_tile_of(int rows, Index depth, const typename Op::Element* a,
                      const typename Op::Element* b, Index ldb, T* c, Index ldc,
                      bool accumulate) noexcept {
  if (rows == R) return register_tile<A, R, NV, Rows, T, Op>(depth, a, b, ldb, c, ldc, accumulate);
  if constexpr (R > 1)
    register_tile_of<A, NV, Rows, T, Op, (R > 2 ? R - 2 : 1)>(rows, depth, a, b, ldb, c, ldc,
                                                              accumulate);
}

/// C[rows x cols] (+)= A B for one block of rows: B is read in place, row-major, `cols` a multiple
/// of the vector. Columns go in register tiles of two vectors and, at the end, one.
template <class A, class Rows, class T, class Op = MultiplyAdd<T, A>>
void row_block_product(int rows, Index cols, Index depth, const typename Op::Element* a,
                       const typename Op::Element* b, Index ldb, T* c, Index ldc,
                       bool accumulate) noexcept {
  constexpr Index W = kWidth<T, A>;
  Index n = 0;
  for (; n + 2 * W <= cols; n += 2 * W)
    register_tile_of<A, 2, Rows, T, Op>(rows, depth, a, b + n, ldb, c + n, ldc, accumulate);
  if (n < cols)
    register_tile_of<A, 1, Rows, T, Op>(rows, depth, a, b + n, ldb, c + n, ldc, accumulate);
}

}  // namespace weft::detail
