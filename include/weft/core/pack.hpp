#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/tile_product.hpp>
#include <weft/core/transpose.hpp>

#include <algorithm>

/// Operands of the register tile, copied into the order in which it reads them and converted to its
/// type T on the way.
///
///   columns of B    panels of NR = kTileCols:   panel[k * NR + n] = B(k, n)
///   rows of A       rows, where they are not already rows of T
///
/// What a panel or a row has beyond the columns and steps that exist is zero.
///
/// Sources with a unit stride are read a vector at a time. Along the order of the result this is a
/// copy; across it (weights W[out, in] used as W^T, K^T of attention, A^T) blocks of W x W elements
/// are transposed in registers. Other strides are gathered one by one.
namespace weft::detail {

/// W vectors of W lanes: vector n holds elements [0, depth) at source + n * stride, zeros behind
/// them, and is zero for n >= count. depth, count <= W.
template <class A, class S, class T>
[[gnu::always_inline]] inline void load_block(const S* source, Index stride, Index depth,
                                              Index count,
                                              Vec<T, A> (&block)[kWidth<T, A>]) noexcept {
  constexpr Index W = kWidth<T, A>;
  if (depth == W && count == W) {
#pragma GCC unroll 16
    for (Index n = 0; n < W; ++n) block[n] = load_as<T, A>(source + n * stride);
  } else {
#pragma GCC unroll 16
    for (Index n = 0; n < W; ++n)
      block[n] = n < count ? load_as_partial<T, A>(source + n * stride, depth) : Vec<T, A>(T(0));
  }
}

/// Columns that are adjacent.
template <class A, class S, class T>
void copy_panel(const S* b, Index stride_k, Index depth, Index cols, T* panel,
                Index width) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index k = 0; k < depth; ++k, b += stride_k, panel += width)
    for (Index n = 0; n < width; n += W)
      store<A>(panel + n, cols >= n + W
                              ? load_as<T, A>(b + n)
                              : load_as_partial<T, A>(b + n, std::max<Index>(cols - n, 0)));
}

/// Columns whose elements are adjacent.
template <class A, class S, class T>
void transpose_panel(const S* b, Index stride_n, Index depth, Index cols, T* panel,
                     Index width) noexcept {
  constexpr Index W = kWidth<T, A>;
  // A register of columns at a time over the whole depth: no more streams than are prefetched.
  for (Index n = 0; n < width; n += W) {
    const Index count = std::clamp<Index>(cols - n, 0, W);
    for (Index k = 0; k < depth; k += W) {
      const Index steps = std::min(W, depth - k);
      Vec<T, A> block[W];
      load_block<A, S, T>(b + n * stride_n + k, stride_n, steps, count, block);
      interleave_rows<static_cast<int>(W)>(block);
      T* to = panel + k * width + n;
#pragma GCC unroll 16
      for (Index i = 0; i < W; ++i)
        if (i < steps) store<A>(to + i * width, block[i]);
    }
  }
}

/// One panel: B(k, n) is b[k * stride_k + n * stride_n], 0 <= cols <= width, the columns of the
/// panel and a multiple of the vector.
template <class A, class S, class T>
void pack_panel(const S* b, Index stride_k, Index stride_n, Index depth, Index cols, T* panel,
                Index width = kTileCols<T, A>) noexcept {
  if (stride_n == 1) return copy_panel<A>(b, stride_k, depth, cols, panel, width);
  if (stride_k == 1) return transpose_panel<A>(b, stride_n, depth, cols, panel, width);
  for (Index k = 0; k < depth; ++k)
    for (Index n = 0; n < width; ++n)
      panel[k * width + n] = n < cols ? static_cast<T>(b[k * stride_k + n * stride_n]) : T(0);
}

/// All columns of B[depth, cols] as panels [ceil(cols / NR)][depth][NR], `panel_stride` elements
/// apart (0: dense).
template <class A, class S, class T>
void pack_cols(const S* b, Index stride_k, Index stride_n, Index depth, Index cols, T* panels,
               Index panel_stride = 0) noexcept {
  constexpr Index NR = kTileCols<T, A>;
  // Row-major sources are read some rows at a time, so that all of a page is used when it is open.
  const Index step = stride_n == 1 ? 16 : std::max<Index>(depth, 1);
  if (panel_stride == 0) panel_stride = depth * NR;
  for (Index k = 0; k < depth; k += step)
    for (Index n = 0, j = 0; n < cols; n += NR, ++j)
      pack_panel<A>(b + k * stride_k + n * stride_n, stride_k, stride_n, std::min(step, depth - k),
                    std::min(NR, cols - n), panels + j * panel_stride + k * NR);
}

/// Rows that are adjacent at every step of the depth; step k is multiplied by factors[k] (null: 1).
template <class A, class S, class T>
void transpose_rows(const S* a, Index stride_k, Index rows, Index depth, T* to, Index ld,
                    const T* factors = nullptr) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index r = 0; r < rows; r += W)
    for (Index k = 0; k < depth; k += W) {
      Vec<T, A> block[W];
      load_block<A, S, T>(a + k * stride_k + r, stride_k, std::min(W, rows - r),
                          std::min(W, depth - k), block);
      if (factors != nullptr)
#pragma GCC unroll 16
        for (Index i = 0; i < W; ++i)
          if (k + i < depth) block[i] = block[i] * Vec<T, A>(factors[k + i]);
      interleave_rows<static_cast<int>(W)>(block);
#pragma GCC unroll 16
      for (Index i = 0; i < W; ++i)
        if (r + i < rows) store<A>(to + (r + i) * ld + k, block[i]);
    }
}

/// to[r * ld + k] = A(r, k) = a[r * stride_m + k * stride_k], and zero from `depth` up to a
/// multiple of the vector.
template <class A, class S, class T>
void pack_rows(const S* a, Index stride_m, Index stride_k, Index rows, Index depth, T* to,
               Index ld) noexcept {
  constexpr Index W = kWidth<T, A>;
  if (stride_m == 1 && stride_k != 1) return transpose_rows<A>(a, stride_k, rows, depth, to, ld);
  for (Index r = 0; r < rows; ++r, a += stride_m, to += ld)
    for (Index k = 0; k < depth; k += W) {
      const Index steps = std::min(W, depth - k);
      if (stride_k == 1)
        store<A>(to + k, steps == W ? load_as<T, A>(a + k) : load_as_partial<T, A>(a + k, steps));
      else
        for (Index i = 0; i < W; ++i)
          to[k + i] = i < steps ? static_cast<T>(a[(k + i) * stride_k]) : T(0);
    }
}

}  // namespace weft::detail
