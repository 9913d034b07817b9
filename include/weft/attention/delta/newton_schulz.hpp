#pragma once

#include <weft/core/gemm.hpp>
#include <weft/core/reduce.hpp>

#include <cmath>

namespace weft {

/// Brings the singular values of a matrix near 1, without computing them (Muon's iteration):
///
///   X <- G / (|G|_F + 1e-7),   then `steps` times   A = X X^T,   X <- a X + (b A + c A A) X
///   (a, b, c) = (3.4445, -4.7750, 2.0315)
///
/// on the transpose where G has more rows than columns. After five steps they lie in about
/// (0.5, 1.5), those below about 1e-3 of |G| not yet. G = 0 gives 0. g is replaced; [rows,
/// columns], contiguous. Time O(steps rows columns min(rows, columns)).
template <class T, class A = DefaultArch>
void newton_schulz(View<T, 2> g, int steps, const Context& ctx = Context()) {
  require(steps >= 0, "newton_schulz: ", steps, " steps");
  require(g.is_packed(), "newton_schulz: the matrix must be contiguous");
  if (g.empty()) return;
  const Index size = g.size();
  const T norm = std::sqrt(row_sum_of_squares<A>(g.data(), size));
  for (Index i = 0; i < size; ++i) g.data()[i] /= norm + T(1e-7);

  const View<T, 2> x = g.extent(0) > g.extent(1) ? g.transpose(0, 1) : g;
  const Index n = x.extent(0), m = x.extent(1);
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> a(ctx.arena().take<T>(n * n), {n, n}), b(ctx.arena().take<T>(n * n), {n, n});
  const View<T, 2> next(ctx.arena().take<T>(n * m), {n, m});
  for (int s = 0; s < steps; ++s) {
    gemm(x, View<const T, 2>(x).transpose(0, 1), a, ctx);
    gemm(a, a, b, ctx);
    for (Index i = 0; i < n * n; ++i)
      b.data()[i] = T(-4.7750) * a.data()[i] + T(2.0315) * b.data()[i];
    gemm(b, x, next, ctx);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < m; ++j) x(i, j) = T(3.4445) * x(i, j) + next(i, j);
  }
}

}  // namespace weft
