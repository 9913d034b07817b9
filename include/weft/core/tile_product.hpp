#pragma once

#include <weft/core/simd.hpp>

#include <type_traits>

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

/// acc + a b on elements of T.
///
/// Any such Op has: Left and Element, what A and B consist of; kParts, how many Left one Element is
/// multiplied with, one part of it at a time; load(b, part), broadcast(a) and apply(a, b, acc).
template <class T, class A>
struct MultiplyAdd {
  using Left = T;
  using Element = T;
  using V = Vec<T, A>;
  static constexpr int kParts = 1;

  [[gnu::always_inline]] static V load(const T* b, int) noexcept { return weft::load<A>(b); }
  [[gnu::always_inline]] static V broadcast(const T* a) noexcept { return V(*a); }
  [[gnu::always_inline]] static V apply(const V& a, const V& b, const V& acc) noexcept {
    return mul_add(a, b, acc);
  }
};

/// What a register tile asks of memory, beside its own operands, at step k of the depth: nothing.
struct NoPrefetch {
  void operator()(Index) const noexcept {}
};

/// Or a stretch of what comes next, `step` bytes (at most four lines) at a time, into the L2 cache:
/// loads that miss it overlap with the arithmetic of a tile that does not.
struct PrefetchAhead {
  const char* next;
  Index step;

  [[gnu::always_inline]] void operator()(Index k) const noexcept {
    const char* at = next + k * step;
    __builtin_prefetch(at, 0, 2);
    if (step <= 64) return;
    __builtin_prefetch(at + 64, 0, 2);
    if (step <= 128) return;
    __builtin_prefetch(at + 128, 0, 2);
    __builtin_prefetch(at + 192, 0, 2);
  }
};

/// The accumulators of a register tile.
template <class A, int R, int NV, class T>
struct TileSums {
  using V = Vec<T, A>;
  static constexpr Index W = kWidth<T, A>;
  V acc[R][NV];

  [[gnu::always_inline]] void clear() noexcept {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = V(T(0));
  }
  [[gnu::always_inline]] void read(const T* c, Index ldc) noexcept {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = load<A>(c + r * ldc + v * W);
  }
  [[gnu::always_inline]] void write(T* c, Index ldc) const noexcept {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) store<A>(c + r * ldc + v * W, acc[r][v]);
  }
  /// Row r times factors[r].
  [[gnu::always_inline]] void write(T* c, Index ldc, const T* factors) const noexcept {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) store<A>(c + r * ldc + v * W, acc[r][v] * V(factors[r]));
  }

  /// += A B over the depth; see the top of the file.
  template <class Op, class Ld, class Prefetch>
  [[gnu::always_inline]] void add(Index depth, const typename Op::Left* a, Ld lda,
                                  const typename Op::Element* b, Index ldb,
                                  Prefetch prefetch) noexcept {
    constexpr Index kUnroll = 4;
    const auto step = [&](Index k) __attribute__((always_inline)) {
      prefetch(k);
#pragma GCC unroll 4
      for (int part = 0; part < Op::kParts; ++part) {
        V bk[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
          bk[v] = Op::load(b + k * ldb + v * W, part);
          if constexpr (R > 1) keep_in_register(bk[v]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const V ar = Op::broadcast(a + r * lda + k * Op::kParts + part);
#pragma GCC unroll 4
          for (int v = 0; v < NV; ++v) acc[r][v] = Op::apply(ar, bk[v], acc[r][v]);
        }
      }
    };
    Index k = 0;
    for (; k + kUnroll <= depth; k += kUnroll)
#pragma GCC unroll 4
      for (Index i = 0; i < kUnroll; ++i) step(k + i);
    for (; k < depth; ++k) step(k);
  }
};

/// One register tile; see the top of the file. A is row-major: lda, ldb and ldc count elements.
/// `Op` says what one step over the depth multiplies: see MultiplyAdd, and DotPairs and WidenPairs
/// in tile_bf16.hpp. An lda of type std::integral_constant spares the rows registers for their
/// addresses.
template <class A, int R, int NV, class Op, class T, class Ld, class Prefetch = NoPrefetch>
void register_tile(Index depth, const typename Op::Left* a, Ld lda, const typename Op::Element* b,
                   Index ldb, T* c, Index ldc, bool accumulate, Prefetch prefetch = {}) noexcept {
  TileSums<A, R, NV, T> sums;
  if (accumulate)
    sums.read(c, ldc);
  else
    sums.clear();
  sums.template add<Op>(depth, a, lda, b, ldb, prefetch);
  sums.write(c, ldc);
}

/// Operands of one product.
template <class T, class Ld>
struct Operands {
  Index depth;
  const T* a;
  Ld lda;
  const T* b;
  Index ldb;
};

/// C[R x n] = diag(factors) (A1 B1 + A2 B2) in one register tile; `vectors`, up to NV, is chosen at
/// run time.
template <class A, int R, int NV, class T, class Ld1, class Ld2, class Prefetch = NoPrefetch>
void two_products_tile(Index vectors, const Operands<T, Ld1>& first, const Operands<T, Ld2>& second,
                       const T* factors, T* c, Index ldc, Prefetch prefetch = {}) noexcept {
  using Op = MultiplyAdd<T, A>;
  if constexpr (NV > 1)
    if (vectors < NV)
      return two_products_tile<A, R, NV - 1>(vectors, first, second, factors, c, ldc, prefetch);
  TileSums<A, R, NV, T> sums;
  sums.clear();
  sums.template add<Op>(first.depth, first.a, first.lda, first.b, first.ldb, prefetch);
  sums.template add<Op>(second.depth, second.a, second.lda, second.b, second.ldb, prefetch);
  sums.write(c, ldc, factors);
}

/// C[rows x n] (+)= A B with n = NV vectors: register tiles of 6 rows, and what is left in 4, 2, 1.
template <class A, int NV, class Op, class T, class Ld, class Prefetch = NoPrefetch>
void rows_product(Index rows, Index depth, const typename Op::Left* a, Ld lda,
                  const typename Op::Element* b, Index ldb, T* c, Index ldc, bool accumulate,
                  Prefetch prefetch = {}) noexcept {
  const auto tile = [&]<int R>(std::integral_constant<int, R>) {
    register_tile<A, R, NV, Op>(depth, a, lda, b, ldb, c, ldc, accumulate, prefetch);
    a += R * lda;
    c += R * ldc;
    rows -= R;
  };
  while (rows >= kTileRows) tile(std::integral_constant<int, kTileRows>{});
  if (rows >= 4) tile(std::integral_constant<int, 4>{});
  if (rows >= 2) tile(std::integral_constant<int, 2>{});
  if (rows == 1) tile(std::integral_constant<int, 1>{});
}

/// The same with the number of vectors, up to kTileVectors, chosen at run time.
template <class A, class Op, int NV, class T, class Ld, class Prefetch = NoPrefetch>
void vectors_product(Index vectors, Index rows, Index depth, const typename Op::Left* a, Ld lda,
                     const typename Op::Element* b, Index ldb, T* c, Index ldc, bool accumulate,
                     Prefetch prefetch = {}) noexcept {
  if (vectors == NV)
    return rows_product<A, NV, Op>(rows, depth, a, lda, b, ldb, c, ldc, accumulate, prefetch);
  if constexpr (NV > 1)
    vectors_product<A, Op, NV - 1>(vectors, rows, depth, a, lda, b, ldb, c, ldc, accumulate,
                                   prefetch);
}

/// C[rows x cols] (+)= A B, B read in place, row-major, `cols` a multiple of the vector: in strips
/// of columns of widths as equal as possible.
template <class A, class Op, class T, class Ld, class Prefetch = NoPrefetch>
void strips_product(Index rows, Index cols, Index depth, const typename Op::Left* a, Ld lda,
                    const typename Op::Element* b, Index ldb, T* c, Index ldc, bool accumulate,
                    Prefetch prefetch = {}) noexcept {
  constexpr Index W = kWidth<T, A>;
  constexpr int kMost = kTileVectors<A>;
  for (Index left = cols / W; left > 0;) {
    const Index vectors = ceil_div(left, ceil_div(left, kMost));
    vectors_product<A, Op, kMost>(vectors, rows, depth, a, lda, b, ldb, c, ldc, accumulate,
                                  prefetch);
    left -= vectors;
    b += vectors * W;
    c += vectors * W;
  }
}

}  // namespace weft::detail
