#pragma once

#include <weft/core/activation.hpp>
#include <weft/layer/operator.hpp>
#include <weft/layer/rows.hpp>

namespace weft {

/// What a feed-forward layer does between its two products, F being a stateless function of a
/// register (core/activation.hpp).
///
///   F           hidden = F(up x)                   Attention Is All You Need, arXiv:1706.03762
///   Gated<F>    hidden = F(gate x) * up x          GLU Variants Improve Transformer,
///   arXiv:2002.05202
template <class F>
struct Gated {};

namespace detail {

template <class H>
struct HiddenFunction {
  using Activation = H;
  static constexpr bool gated = false;
};
template <class F>
struct HiddenFunction<Gated<F>> {
  using Activation = F;
  static constexpr bool gated = true;
};

/// Hidden layer of one block of rows: half of a second-level cache of 2 MB, but not so few rows
/// that the matrix product starves.
inline constexpr Index kHiddenBytes = 1 << 20;
inline constexpr Index kHiddenRows = 128;

/// row <- F(row).
template <class A, class F, class S>
void activate_rows(View<S, 2> rows, const Context& ctx) {
  using T = Accumulator<S>;
  const auto activate = [n = rows.extent(1)](Index, S* row) {
    for (Index d = 0; d < n; d += kWidth<T, A>) {
      const Index lanes = std::min(kWidth<T, A>, n - d);
      store_as_partial<A>(row + d, F{}(load_as_partial<T, A>(row + d, lanes)), lanes);
    }
  };
  for_each_row(ctx, activate, rows);
}

/// Rows [gate, up]: gate <- F(gate) * up.
template <class A, class F, class S>
void gate_rows(View<S, 2> rows, const Context& ctx) {
  using T = Accumulator<S>;
  const auto gate = [n = rows.extent(1) / 2](Index, S* row) {
    for (Index d = 0; d < n; d += kWidth<T, A>) {
      const Index lanes = std::min(kWidth<T, A>, n - d);
      const auto up = load_as_partial<T, A>(row + n + d, lanes);
      store_as_partial<A>(row + d, F{}(load_as_partial<T, A>(row + d, lanes)) * up, lanes);
    }
  };
  for_each_row(ctx, gate, rows);
}

/// An epilogue of the whole result, applied to a block of rows that starts at `first`.
template <class E>
struct FromRow {
  E epilogue;
  Index first;

  template <class V>
  V operator()(V acc, Index row, Index col, Index lanes) const noexcept {
    return epilogue(acc, first + row, col, lanes);
  }
};

}  // namespace detail

/// Feed-forward layer y = down hidden(x), x [n, cols], y [n, rows], on any operator. It models
/// Operator, and FusedOperator where its operator does: AddResidual{y} makes it a residual branch.
///
///   FeedForward<Op, GeluErf> mlp(up, down);
///   SwiGlu<Op> mlp(Op(stack_rows(gate, up)), Op(down));        gate and up in one product
///
/// Biases belong to the operators. Rows are done in blocks whose hidden layer stays in the cache:
/// scratch memory is 1 MiB or 128 rows of it. Throws when the operators do not fit each other, and
/// in `apply` when x and y do not fit. Time 2 n (in.rows in.cols + down.rows down.cols) operations.
template <Operator Op, class Hidden, class A = DefaultArch>
class FeedForward {
  static constexpr bool kGated = detail::HiddenFunction<Hidden>::gated;
  using Activation = typename detail::HiddenFunction<Hidden>::Activation;

 public:
  /// `in` is up, or with Gated gate above up.
  FeedForward(Op in, Op down) : in_(std::move(in)), down_(std::move(down)) {
    require(in_.rows() == (kGated ? 2 : 1) * down_.cols(), "FeedForward: the first operator has ",
            in_.rows(), " rows, the second ", down_.cols(), " columns; wanted ",
            kGated ? "twice as many (gate and up)" : "the same number");
  }

  Index rows() const { return down_.rows(); }
  Index cols() const { return in_.cols(); }

  /// Its operators. What takes their place must have their sizes.
  Op& in() noexcept { return in_; }
  Op& down() noexcept { return down_; }

  template <class X, class Y>
  void apply(View<X, 2> x, View<Y, 2> y, const Context& ctx = Context{}) const {
    for_blocks(x, y, ctx, [&](const auto& hidden, const View<Y, 2>& part, Index) {
      down_.apply(hidden, part, ctx);
    });
  }

  template <class X, class Y, Epilogue<Accumulator<Y>, A> E>
  void apply(View<X, 2> x, View<Y, 2> y, const E& epilogue, const Context& ctx = Context{}) const
    requires FusedOperator<Op>
  {
    detail::check_epilogue(epilogue, y.extent(0), y.extent(1));
    for_blocks(x, y, ctx, [&](const auto& hidden, const View<Y, 2>& part, Index first) {
      down_.apply(hidden, part, detail::FromRow<E>{epilogue, first}, ctx);
    });
  }

 private:
  /// Calls f(hidden layer, its rows of y, first row) for blocks of rows.
  template <class X, class Y, class F>
  void for_blocks(const View<X, 2>& x, const View<Y, 2>& y, const Context& ctx, F f) const {
    using S = std::remove_const_t<X>;
    const Index n = x.extent(0), channels = in_.rows();
    require(x.extent(1) == cols() && y.extent(1) == rows() && y.extent(0) == n,
            "FeedForward: x is ", x, ", y is ", y, "; wanted [n, ", cols(), "] and [n, ", rows(),
            "]");
    const Index fitting = detail::kHiddenBytes / (channels * Index{sizeof(S)} + 1);
    const Index block = std::min(n, std::max(detail::kHiddenRows, fitting));
    const Arena::Frame frame(ctx.arena());
    const View<S, 2> memory(ctx.arena().template take<S>(block * channels), {block, channels});
    for (Index first = 0; first < n; first += block) {
      const Index count = std::min(block, n - first);
      const View<S, 2> hidden = memory.slice(0, 0, count);
      fill(View<const S, 2>(x.slice(0, first, count)), hidden, ctx);
      f(View<const S, 2>(hidden.slice(1, 0, down_.cols())), y.slice(0, first, count), first);
    }
  }

  template <class S>
  void fill(const View<const S, 2>& x, const View<S, 2>& hidden, const Context& ctx) const {
    if constexpr (kGated) {
      in_.apply(x, hidden, ctx);
      detail::gate_rows<A, Activation>(hidden, ctx);
    } else if constexpr (FusedOperator<Op>) {
      in_.apply(x, hidden, Activate<Activation>{}, ctx);
    } else {
      in_.apply(x, hidden, ctx);
      detail::activate_rows<A, Activation>(hidden, ctx);
    }
  }

  Op in_, down_;
};

/// The gated layers by their usual names.
template <class Op>
using SwiGlu = FeedForward<Op, Gated<Silu>>;  ///< Llama
template <class Op>
using GeGlu = FeedForward<Op, Gated<GeluErf>>;
template <class Op>
using ReGlu = FeedForward<Op, Gated<Relu>>;
template <class Op>
using Glu = FeedForward<Op, Gated<Sigmoid>>;  ///< the original gate, arXiv:1612.08083

}  // namespace weft
