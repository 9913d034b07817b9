#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/tile_product.hpp>
#include <weft/core/transpose.hpp>

#include <algorithm>

/// Operands of the register tile, copied into the order in which it reads them.
///
/// A panel is `width` rows of A, or `width` columns of B, stored depth-major:
///
///   panel[k * width + n] = source[k * stride_k + n * stride_n],     zero for count <= n < width
///
/// so the tile reads it front to back. Storage is converted to T on the way. Two cases run at the
/// speed of the caches: unit stride along n (a copy) and along k (W x W transpositions in registers:
/// rows of A, and weights W[out, in] that are used as W^T); other strides are gathered one by one.
namespace weft::detail {

/// Unit stride along n.
template <class A, class S, class T>
void copy_panel(const S* source, Index stride_k, Index depth, Index count, Index width,
                T* panel) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index k = 0; k < depth; ++k, source += stride_k, panel += width) {
    Index n = 0;
    for (; n + W <= count; n += W) store<A>(panel + n, load_as<T, A>(source + n));
    if (n == width) continue;
    store<A>(panel + n, load_as_partial<T, A>(source + n, count - n));
    for (n += W; n < width; n += W) store<A>(panel + n, Vec<T, A>(T(0)));
  }
}

/// Up to W elements of up to W rows as the lanes of W vectors. Lanes beyond `depth` and vectors
/// beyond `count` are zero, but vectors beyond `width`, which nobody looks at, may be anything.
template <class A, class S, class T>
[[gnu::always_inline]] inline void load_rows(const S* source, Index stride_n, Index depth,
                                             Index count, Index width,
                                             Vec<T, A> (&rows)[kWidth<T, A>]) noexcept {
  constexpr int W = kWidth<T, A>;
  if (depth == W && count > 0 && (count == W || count == width)) {
#pragma GCC unroll 16
    for (Index n = 0; n < W; ++n)
      rows[n] = load_as<T, A>(source + std::min(n, count - 1) * stride_n);
  } else {
#pragma GCC unroll 16
    for (Index n = 0; n < W; ++n)
      rows[n] = n < count ? load_as_partial<T, A>(source + n * stride_n, depth) : Vec<T, A>(T(0));
  }
}

/// Unit stride along k. A vector stored for one k may reach into the place of the next one; groups
/// of columns go from last to first and k upwards, so what belongs there is always written later.
template <class A, class S, class T>
void transpose_panel(const S* source, Index stride_n, Index depth, Index count, Index width,
                     T* panel) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index k = 0; k < depth; k += W) {
    const Index steps = std::min(W, depth - k);
    for (Index n = (width - 1) / W * W; n >= 0; n -= W) {
      Vec<T, A> rows[W];
      load_rows<A, S, T>(source + n * stride_n + k, stride_n, steps,
                         std::clamp<Index>(count - n, 0, W), std::min(W, width - n), rows);
      interleave_rows<static_cast<int>(W)>(rows);
      T* to = panel + k * width + n;
      if (steps == W) {
#pragma GCC unroll 16
        for (Index i = 0; i < W; ++i) store<A>(to + i * width, rows[i]);
      } else {
#pragma GCC unroll 16
        for (Index i = 0; i < W; ++i)
          if (i < steps) store<A>(to + i * width, rows[i]);
      }
    }
  }
}

/// Any strides.
template <class S, class T>
void gather_panel(const S* source, Index stride_k, Index stride_n, Index depth, Index count,
                  Index width, T* panel) noexcept {
  for (Index k = 0; k < depth; ++k, source += stride_k, panel += width) {
    for (Index n = 0; n < count; ++n) panel[n] = static_cast<T>(source[n * stride_n]);
    for (Index n = count; n < width; ++n) panel[n] = T(0);
  }
}

/// Elements to reserve for a panel: whole cache lines, with room for the last vector to overshoot
/// where the width is no multiple of a vector.
template <class T, class A>
constexpr Index panel_size(Index depth, Index width) noexcept {
  const Index slack = width % kWidth<T, A> == 0 ? 0 : kWidth<T, A>;
  return round_up(depth * width + slack, static_cast<Index>(64 / sizeof(T)));
}

/// One panel; writes no further than panel_size<T, A>(depth, width). 0 <= count <= width.
template <class A, class S, class T>
void pack_panel(const S* source, Index stride_k, Index stride_n, Index depth, Index count,
                Index width, T* panel) noexcept {
  if (stride_n == 1)
    copy_panel<A>(source, stride_k, depth, count, width, panel);
  else if (stride_k == 1)
    transpose_panel<A>(source, stride_n, depth, count, width, panel);
  else
    gather_panel(source, stride_k, stride_n, depth, count, width, panel);
}

/// All columns of B[depth, cols] as panels [ceil(cols / NR)][depth][NR] with NR = kTileCols<T, A>,
/// `panel_stride` elements apart (0: dense). B(k, n) is b[k * stride_k + n * stride_n].
///
/// K^T of attention is the case stride_k = 1: pack_cols<A>(k, 1, row_length, head_size, keys, out).
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
                    std::min(NR, cols - n), NR, panels + j * panel_stride + k * NR);
}

/// Rows of A[rows, depth], `height` to a panel (the last panel has tile_rows_for of what is left),
/// `panel_stride` elements apart. A(m, k) is a[m * stride_m + k * stride_k].
template <class A, class S, class T>
void pack_rows(const S* a, Index stride_m, Index stride_k, Index rows, Index depth, Index height,
               T* panels, Index panel_stride) noexcept {
  for (Index m = 0; m < rows; m += height, panels += panel_stride) {
    const Index count = std::min(height, rows - m);
    pack_panel<A>(a + m * stride_m, stride_k, stride_m, depth, count, tile_rows_for(count), panels);
  }
}

}  // namespace weft::detail
