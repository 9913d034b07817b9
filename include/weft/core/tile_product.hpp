#pragma once

#include <weft/core/simd.hpp>

#include <algorithm>
#include <utility>

/// The register tile that all matrix products of weft are made of: GEMM, Q K^T and P V.
///
///   C[R x n] = A[R x K] B[K x n]   or   C += A B,      n = NV * width of a vector
///
/// A is read by broadcast and B by whole vectors, so the R x NV accumulators stay in registers over
/// the depth K and every step costs NV loads, R broadcasts and R * NV multiply-adds.
namespace weft::detail {

/// Rows of the largest register tile, and vectors of one of its rows.
///
/// AVX-512: 6 x 4 accumulators + 4 vectors of B + 1 broadcast = 29 of 32 registers; before that
/// 6 x 2 + 2 + 1 = 15 of 16. With 32 registers 14 x 2 is as fast alone, but a step of it takes 1.6
/// instructions per multiply-add, of this one 1.4: it loses less to another thread on the core.
inline constexpr int kTileRows = 6;
template <class A>
inline constexpr int kTileVectors = kRegisters<A> == 32 ? 4 : 2;

/// Columns of the register tile.
template <class T, class A>
inline constexpr Index kTileCols = kTileVectors<A> * kWidth<T, A>;

/// Row counts for which a tile is instantiated; others are rounded up to the next of these, and the
/// caller provides (and then ignores) the rows in between.
constexpr int tile_rows_for(Index rows) noexcept {
  return static_cast<int>(rows <= 2 ? rows : (rows + 1) / 2 * 2);
}

/// A cut of `rows` rows into the fewest register tiles, of heights as equal as possible.
struct RowCut {
  Index tiles;
  Index height;  ///< rows of each tile but the last, which may have fewer

  explicit constexpr RowCut(Index rows) noexcept
      : tiles(ceil_div(rows, kTileRows)),
        height(tiles == 0 ? 0 : tile_rows_for(ceil_div(rows, tiles))) {}
};

/// Where a register tile of R rows finds A: element (r, k) at offset<R>(k) + r * kRow, and `kRun`
/// steps of a row, from a multiple of kRun on, are adjacent.
///
/// Rows in blocks of `Steps` along the depth, a power of two: the rows of a block follow one
/// another, so that packing them is a copy and one address serves all of them.
template <Index Steps>
struct BlockedRows {
  static constexpr Index kRow = Steps, kRun = std::min<Index>(Steps, 4);

  template <int R>
  static constexpr Index offset(Index k) noexcept {
    return k + (k & -Steps) * (R - 1);
  }
};

/// Row-major with a row length known to the compiler, so that the rows need no registers for their
/// addresses.
template <Index Ld>
struct FixedRows {
  static constexpr Index kRow = Ld, kRun = 4;

  template <int R>
  static constexpr Index offset(Index k) noexcept {
    return k;
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
  // One vector a row is too little to hide the latency of a multiply-add: even and odd steps apart.
  constexpr int kChains = NV == 1 && Rows::kRun > 1 ? 2 : 1;
  V acc[kChains][R][NV];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      acc[0][r][v] = accumulate ? load<A>(c + r * ldc + v * W) : V(T(0));
      if constexpr (kChains == 2) acc[1][r][v] = V(T(0));
    }
  const auto step = [&](const typename Op::Element* ak, Index k, Index chain)
      __attribute__((always_inline)) {
    prefetch(k);
    V bk[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) bk[v] = Op::load(b + k * ldb + v * W);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V ar = Op::broadcast(ak + r * Rows::kRow);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[chain][r][v] = Op::apply(ar, bk[v], acc[chain][r][v]);
    }
  };
  Index k = 0;
  for (; k + Rows::kRun <= depth; k += Rows::kRun) {
    const auto* ak = a + Rows::template offset<R>(k);
#pragma GCC unroll 4
    for (Index i = 0; i < Rows::kRun; ++i) step(ak + i, k + i, i % kChains);
  }
  for (; k < depth; ++k) step(a + Rows::template offset<R>(k), k, 0);
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      if constexpr (kChains == 2) acc[0][r][v] += acc[1][r][v];
      store<A>(c + r * ldc + v * W, acc[0][r][v]);
    }
}

/// Register tiles of NV vectors for every height in tile_rows_for.
template <class A, int NV, class Rows, class T, class Op, int R = kTileRows>
void register_tile_of(int rows, Index depth, const typename Op::Element* a,
                      const typename Op::Element* b, Index ldb, T* c, Index ldc,
                      bool accumulate) noexcept {
  if (rows == R) return register_tile<A, R, NV, Rows, T, Op>(depth, a, b, ldb, c, ldc, accumulate);
  if constexpr (R > 1)
    register_tile_of<A, NV, Rows, T, Op, (R > 2 ? R - 2 : 1)>(rows, depth, a, b, ldb, c, ldc,
                                                              accumulate);
}

/// The same with the number of vectors chosen at run time, too.
template <class A, class Rows, class T, class Op, int NV = kTileVectors<A>>
void register_tile_of(int rows, Index vectors, Index depth, const typename Op::Element* a,
                      const typename Op::Element* b, Index ldb, T* c, Index ldc,
                      bool accumulate) noexcept {
  if (vectors == NV)
    return register_tile_of<A, NV, Rows, T, Op>(rows, depth, a, b, ldb, c, ldc, accumulate);
  if constexpr (NV > 1)
    register_tile_of<A, Rows, T, Op, NV - 1>(rows, vectors, depth, a, b, ldb, c, ldc, accumulate);
}

/// C[rows x cols] (+)= A B for one block of rows: B is read in place, row-major, `cols` a multiple
/// of the vector, in register tiles of widths as equal as possible.
template <class A, class Rows, class T, class Op = MultiplyAdd<T, A>>
void row_block_product(int rows, Index cols, Index depth, const typename Op::Element* a,
                       const typename Op::Element* b, Index ldb, T* c, Index ldc,
                       bool accumulate) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index left = cols / W; left > 0;) {
    const Index vectors = ceil_div(left, ceil_div(left, kTileVectors<A>));
    register_tile_of<A, Rows, T, Op>(rows, vectors, depth, a, b, ldb, c, ldc, accumulate);
    left -= vectors;
    b += vectors * W;
    c += vectors * W;
  }
}

}  // namespace weft::detail
