#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/executor.hpp>
#include <weft/layer/norm.hpp>
#include <weft/layer/operator.hpp>
#include <weft/layer/rows.hpp>

namespace weft {

/// x += y over arrays of any rank and equal shape, last axis contiguous. Throws when shapes
/// disagree.
template <class A = DefaultArch, class X, class Y>
void add_residual(X&& x, const Y& y, const Context& ctx = Context{}) {
  const auto to = view_of(x);
  using S = typename decltype(to)::value_type;
  using T = Accumulator<S>;
  const View<const S, decltype(to)::rank> from = view_of(y);
  detail::require_same_rows("add_residual", "x", to, "y", from);
  const Index channels = to.extent(to.rank - 1);
  detail::for_each_row(
      ctx,
      [=](Index, S* sum, const S* row) {
        for (Index d = 0; d < channels; d += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, channels - d);
          const auto v = load_as_partial<T, A>(sum + d, lanes);
          store_as_partial<A>(sum + d, v + load_as_partial<T, A>(row + d, lanes), lanes);
        }
      },
      to, from);
}

/// x += gate * y with one gate per batch and channel: x and y [B, N, D], gate [B, D], as in
/// adaptive blocks that start as the identity (AdaLN-Zero of DiT, arXiv:2212.09748).
template <class A = DefaultArch, ViewLike<3> X, ViewLike<3> Y, class T>
void add_gated_residual(X&& x, View<T, 2> gate, const Y& y, const Context& ctx = Context{}) {
  const auto to = view_of(x);
  using S = typename decltype(to)::value_type;
  using R = Accumulator<S>;
  const View<const S, 3> from = view_of(y);
  detail::require_same_rows("add_gated_residual", "x", to, "y", from);
  const Index length = to.extent(1), channels = to.extent(2);
  require(gate.extent(0) == to.extent(0) && gate.extent(1) == channels &&
              (channels <= 1 || gate.stride(1) == 1),
          "add_gated_residual: gate is ", gate, ", x ", to,
          "; gate is [B, D] with contiguous rows");
  detail::for_each_row(
      ctx,
      [=](Index index, S* sum, const S* row) {
        const T* factor = gate.pointer(index / length);
        for (Index d = 0; d < channels; d += kWidth<R, A>) {
          const Index lanes = std::min(kWidth<R, A>, channels - d);
          const auto g = load_as_partial<R, A>(factor + d, lanes);
          const auto v = load_as_partial<R, A>(row + d, lanes);
          const auto old = load_as_partial<R, A>(sum + d, lanes);
          store_as_partial<A>(sum + d, xsimd::fma(g, v, old), lanes);
        }
      },
      to, from);
}

namespace detail {

/// y = x + op(input). y may be x; nothing else overlaps.
template <class A, class T, class Op>
void apply_adding(const Op& op, View<const T, 2> input, View<const T, 2> x, View<T, 2> y,
                  const Context& ctx) {
  if constexpr (FusedOperator<Op, T>) {
    op.apply(input, y, AddResidual<T>{x}, ctx);
  } else if (x.data() != y.data()) {
    op.apply(input, y, ctx);
    add_residual<A>(y, x, ctx);
  } else {
    const Arena::Frame frame(ctx.arena());
    const View<T, 2> branch(ctx.arena().template take<T>(y.size()), y.shape());
    op.apply(input, branch, ctx);
    add_residual<A>(y, branch, ctx);
  }
}

}  // namespace detail

/// Pre-norm block, x <- x + op(norm(x)), x [n, width] with contiguous rows: what most current
/// transformers are made of. `op` is any operator of width rows and columns, such as a feed-forward
/// layer; one that fuses epilogues adds to x as it goes.
template <class A = DefaultArch, RowNorm N, class T, Operator<T> Op>
void pre_norm_block(const N& norm, const Op& op, View<T, 2> x, const Context& ctx = Context{}) {
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> normed(ctx.arena().template take<T>(x.size()), x.shape());
  normalize<A>(norm, x, normed, ctx);
  detail::apply_adding<A, T>(op, normed, x, x, ctx);
}

/// Post-norm block, x <- norm(x + op(x)): the first transformer, BERT.
template <class A = DefaultArch, RowNorm N, class T, Operator<T> Op>
void post_norm_block(const N& norm, const Op& op, View<T, 2> x, const Context& ctx = Context{}) {
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> sum(ctx.arena().template take<T>(x.size()), x.shape());
  detail::apply_adding<A, T>(op, x, x, sum, ctx);
  normalize<A>(norm, sum, x, ctx);
}

}  // namespace weft
