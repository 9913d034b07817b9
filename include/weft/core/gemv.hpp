#pragma once

#include <weft/core/gemm_blocked.hpp>

/// Products with one row of A, or a few: y = x B. Every element of B is used once, so its bytes
/// over the bandwidth of where it lies are the floor, and all that matters is to keep that busy:
/// few streams of B at a time, each as long as can be, at least eight sums in flight (a
/// multiply-add takes four cycles and two start in each), and B is not packed.
///
///   B packed            panels of 8 registers together                       panel_gemv
///   columns adjacent    a register of columns of B at a time, summed across  dot_gemv
///   rows adjacent       8 rows at a time, added to a y that stays near       axpy_gemv
namespace weft::detail {

/// Rows of A up to which a plain B is not packed, but gone through once per row while it is in L2.
inline constexpr Index kGemvRows = 4;

/// B that one task reads at least.
inline constexpr Index kGemvTaskBytes = 1 << 20;

/// Columns that one task sums at most, so that their sums stay in L1.
inline constexpr Index kGemvColumns = 4096;

/// A row of A as adjacent elements of T: in place where it is that already, else copied.
template <class T, class S>
const T* dense_row(const View<const S, 2>& a, Index row, Arena& arena) {
  if constexpr (std::is_same_v<S, T>)
    if (a.stride(1) == 1) return a.pointer(row);
  T* to = arena.take<T>(a.extent(1));
  for (Index k = 0; k < a.extent(1); ++k) to[k] = static_cast<T>(a(row, k));
  return to;
}

/// y over NP panels, summed along the depth in the order of a register tile: a row gives the same
/// result whether it is multiplied alone or among others.
template <class K, int NP, class S, class E>
void panels_gemv(const typename K::Left* x, const typename K::Element* b, Index stride, Index depth,
                 const View<S, 2>& c, Index col, const E& epilogue) noexcept {
  using A = typename K::Arch;
  using Op = typename K::Op;
  using V = Vec<typename K::Sum, A>;
  constexpr Index W = static_cast<Index>(V::size);
  V sums[NP][kTileVectors<A>];
  for (auto& panel : sums)
    for (V& v : panel) v = V(0);
  for (Index k = 0; k < depth; ++k)
#pragma GCC unroll 2
    for (int part = 0; part < Op::kParts; ++part) {
      const V xk = Op::broadcast(x + k * Op::kParts + part);
#pragma GCC unroll 4
      for (int p = 0; p < NP; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < kTileVectors<A>; ++v) {
          const auto* at = b + p * stride + k * K::kCols + v * W;
          sums[p][v] = Op::apply(xk, Op::load(at, part), sums[p][v]);
        }
    }
  for (int p = 0; p < NP; ++p)
    for (int v = 0; v < kTileVectors<A>; ++v) {
      const Index n = col + p * K::kCols + v * W;
      if (n < c.extent(1))
        store_lanes<A>(sums[p][v], c, 0, n, std::min(W, c.extent(1) - n), epilogue);
    }
}

/// C[1, N] = epilogue(x B), B packed for K over its whole depth.
template <class K, class SA, class S, class E>
void panel_gemv(const View<const SA, 2>& a, const typename K::Element* b, const View<S, 2>& c,
                const E& epilogue, const Context& ctx) {
  using Element = typename K::Element;
  const Index depth = K::depth(a.extent(1)), panels = ceil_div(c.extent(1), K::kCols);
  const Index stride = depth * K::kCols;
  Arena::Frame frame(ctx.arena());
  const auto* x = row_tiles<K>(a, ctx).data;
  const Index panel_bytes = std::max<Index>(stride, 1) * Index{sizeof(Element)};
  constexpr int kTogether = 8 / kTileVectors<typename K::Arch>;
  const Index block = round_up(ceil_div(kGemvTaskBytes, panel_bytes), kTogether);
  ctx.parallel(ceil_div(panels, block), [&](Index task, Arena&) {
    const Index end = std::min((task + 1) * block, panels);
    Index j = task * block;
    for (; j + kTogether <= end; j += kTogether)
      panels_gemv<K, kTogether>(x, b + j * stride, stride, depth, c, j * K::kCols, epilogue);
    for (; j < end; ++j)
      panels_gemv<K, 1>(x, b + j * stride, stride, depth, c, j * K::kCols, epilogue);
  });
}

/// Products of x with R columns of B, whose elements are adjacent: a register of partial sums each.
template <int R, class A, class T, class S>
void dot_columns(const T* x, const S* b, Index stride, Index depth, Vec<T, A>* sums) noexcept {
  constexpr Index W = kWidth<T, A>;
  Vec<T, A> even[R], odd[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) even[r] = odd[r] = Vec<T, A>(T(0));
  Index k = 0;
  for (; k + 2 * W <= depth; k += 2 * W) {
    const Vec<T, A> x0 = load<A>(x + k), x1 = load<A>(x + k + W);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      even[r] = mul_add(x0, load_as<T, A>(b + r * stride + k), even[r]);
      odd[r] = mul_add(x1, load_as<T, A>(b + r * stride + k + W), odd[r]);
    }
  }
  for (; k < depth; k += W) {
    const Index lanes = std::min(W, depth - k);
    const Vec<T, A> xk = load_partial<A>(x + k, lanes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
      even[r] = mul_add(xk, load_as_partial<T, A>(b + r * stride + k, lanes), even[r]);
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sums[r] = even[r] + odd[r];
}

/// C = epilogue(A B) for a B whose columns are rows in memory, a register of them at a time.
template <class T, class A, class SA, class SB, class S, class E>
void dot_gemv(const View<const SA, 2>& a, const View<const SB, 2>& b, const View<S, 2>& c,
              const E& epilogue, const Context& ctx) {
  constexpr Index W = kWidth<T, A>;
  constexpr int kGroup = static_cast<int>(std::min<Index>(W, kRegisters<A> / 4));
  const Index depth = a.extent(1), cols = c.extent(1), stride = b.stride(1);
  const Index block =
      round_up(ceil_div(kGemvTaskBytes, std::max<Index>(depth, 1) * Index{sizeof(SB)}), W);
  Arena::Frame frame(ctx.arena());
  const T* x[kGemvRows];
  for (Index m = 0; m < a.extent(0); ++m) x[m] = dense_row<T>(a, m, ctx.arena());
  ctx.parallel(ceil_div(cols, block), [&](Index task, Arena&) {
    const Index end = std::min((task + 1) * block, cols);
    for (Index n = task * block; n < end; n += W)
      for (Index m = 0; m < a.extent(0); ++m) {
        Vec<T, A> sums[W];
        Index r = 0;
        for (; r + kGroup <= std::min(W, end - n); r += kGroup)
          dot_columns<kGroup, A>(x[m], b.pointer(0, n + r), stride, depth, sums + r);
        for (; r < W; ++r)
          if (n + r < end)
            dot_columns<1, A>(x[m], b.pointer(0, n + r), stride, depth, sums + r);
          else
            sums[r] = Vec<T, A>(T(0));
        store_lanes<A>(sum_rows(sums), c, m, n, std::min(W, end - n), epilogue);
      }
  });
}

/// y += x[0] b[0, :] + ... + x[R - 1] b[R - 1, :]
template <int R, class A, class T, class S>
void add_rows(const T* x, const S* b, Index stride, Index cols, T* y) noexcept {
  constexpr Index W = kWidth<T, A>;
  Vec<T, A> xr[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) xr[r] = Vec<T, A>(x[r]);
  Index n = 0;
  for (; n + W <= cols; n += W) {
    Vec<T, A> sum = load<A>(y + n);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum = mul_add(xr[r], load_as<T, A>(b + r * stride + n), sum);
    store<A>(y + n, sum);
  }
  if (n == cols) return;
  Vec<T, A> sum = load_partial<A>(y + n, cols - n);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
    sum = mul_add(xr[r], load_as_partial<T, A>(b + r * stride + n, cols - n), sum);
  store_partial<A>(y + n, sum, cols - n);
}

/// C = epilogue(A B) for a B with adjacent rows, eight of them at a time.
template <class T, class A, class SA, class SB, class S, class E>
void axpy_gemv(const View<const SA, 2>& a, const View<const SB, 2>& b, const View<S, 2>& c,
               const E& epilogue, const Context& ctx) {
  constexpr Index W = kWidth<T, A>, kRows = 8;
  const Index depth = a.extent(1), stride = b.stride(0), rows = a.extent(0);
  const Index column_bytes = std::max<Index>(depth, 1) * Index{sizeof(SB)};
  const Index share =
      std::max(ceil_div(c.extent(1), Index{ctx.workers()}), ceil_div(kGemvTaskBytes, column_bytes));
  const Index block = round_up(std::min(share, kGemvColumns), W);
  Arena::Frame frame(ctx.arena());
  const T* x[kGemvRows];
  for (Index m = 0; m < rows; ++m) x[m] = dense_row<T>(a, m, ctx.arena());
  ctx.parallel(ceil_div(c.extent(1), block), [&](Index task, Arena& arena) {
    const Index col = task * block, cols = std::min(block, c.extent(1) - col);
    T* y = arena.take<T>(rows * block);
    std::fill_n(y, rows * block, T(0));
    for (Index k = 0; k < depth; k += kRows)
      for (Index m = 0; m < rows; ++m)
        if (k + kRows <= depth)
          add_rows<kRows, A>(x[m] + k, b.pointer(k, col), stride, cols, y + m * block);
        else
          for (Index i = k; i < depth; ++i)
            add_rows<1, A>(x[m] + i, b.pointer(i, col), stride, cols, y + m * block);
    for (Index m = 0; m < rows; ++m)
      for (Index n = 0; n < cols; n += W)
        store_lanes<A>(load<A>(y + m * block + n), c, m, col + n, std::min(W, cols - n), epilogue);
  });
}

}  // namespace weft::detail
