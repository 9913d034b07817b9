#pragma once

#include <weft/attention/linear/decorated_feature.hpp>
#include <weft/attention/linear/mixer.hpp>
#include <weft/core/activation.hpp>
#include <weft/layer/depthwise_conv.hpp>
#include <weft/layer/heads.hpp>
#include <weft/layer/linear.hpp>
#include <weft/layer/rows.hpp>
#include <weft/position/rope2d.hpp>

namespace weft {

/// Dual-gated linear attention (HER-Seg: Holistically Efficient Segmentation for High-Resolution
/// Medical Images, arXiv:2504.06205) of maps x [B, rows, columns, C] of H heads:
///
///   [q, k] = W_qk x + b,  q, k <- elu + 1
///   v = W_down silu(W_up x)                                   the first gate
///   q', k' = q, k turned by the two coordinates of their token, over all C channels
///   out_i = (sum_j (q'_i . k'_j) v_j / N) / (mean_j q_i . k_j + eps) + conv(v)_i
///
/// Weights are turned and the denominator is not, so that they do not sum to one. `rope` is
/// fit_rope(C, extent), conv a depthwise convolution of C channels. The second gate of the block is
///
///   y = x + W_o (attention(norm(x)) silu(W_g norm(x)))        `gate_with_silu`, and then W_o
///
/// x and out have T = float or double. Time that of the operators, O(B N C (C / H + k^2)); scratch
/// 3 B N C and B N of the hidden layer. Throws where shapes disagree.
template <class Op = DenseOperator<float>, class T = float>
struct DualGatedAttention {
  Index heads;
  Op qk, up, down;
  const AxialRope<T>* rope;
  const DepthwiseConv<T>* conv;
  double eps = 1e-6;
};

namespace detail {

/// q and k <- elu + 1, then factor [B, H, N] <- 1 / (q . mean k + eps), per head.
template <class A, class T>
void mean_normalisers(const View<T, 4>& q, const View<T, 4>& k, double eps,
                      const View<T, 3>& factor, const Context& ctx) {
  constexpr Index W = kWidth<T, A>;
  const Index H = q.extent(1), N = q.extent(2), D = q.extent(3);
  ctx.parallel(q.extent(0) * H, [&](Index task, Arena& arena) {
    const Index b = task / H, h = task % H, ld = round_up(D, W);
    T* mean = arena.take<T>(ld);
    std::fill_n(mean, ld, T(0));
    const auto each = [&](T* row, auto f) {
      for (Index d = 0; d < D; d += W) f(row + d, d, std::min(W, D - d));
    };
    for (Index j = 0; j < N; ++j)
      each(k.pointer(b, h, j), [&](T* x, Index d, Index lanes) {
        const auto feature = EluPlusOne{}(load_partial<A>(x, lanes));
        store_partial<A>(x, feature, lanes);
        store<A>(mean + d, load<A>(mean + d) + feature);
      });
    times_row<A>(static_cast<T>(1 / static_cast<double>(N)), mean, D, mean);
    for (Index i = 0; i < N; ++i) {
      Vec<T, A> sum(T(0));
      each(q.pointer(b, h, i), [&](T* x, Index d, Index lanes) {
        const auto feature = EluPlusOne{}(load_partial<A>(x, lanes));
        store_partial<A>(x, feature, lanes);
        sum = mul_add(xsimd::select(leading_lanes<A, T>(lanes), feature, Vec<T, A>(T(0))),
                      load<A>(mean + d), sum);
      });
      factor(b, h, i) = 1 / (sum_lanes(sum) + static_cast<T>(eps));
    }
  });
}

}  // namespace detail

template <class A = DefaultArch, class Op, class T, ViewLike<4> X, ViewLike<4> O>
void forward(const DualGatedAttention<Op, T>& mixer, const X& x, O&& out,
             const Context& ctx = Context()) {
  const View<const T, 4> map = view_of(x);
  const View<T, 4> to = view_of(out);
  const View<const T, 3> tokens = tokens_of_map(map);
  const Index B = tokens.extent(0), N = tokens.extent(1), C = tokens.extent(2);
  require(to.shape() == map.shape(), "DualGatedAttention: x is ", map, ", out ", to);
  require(
      mixer.qk.cols() == C && mixer.qk.rows() == 2 * C && mixer.up.cols() == C &&
          mixer.down.cols() == mixer.up.rows() && mixer.down.rows() == C,
      "DualGatedAttention: the operators must be C -> 2 C, C -> hidden and hidden -> C for C = ",
      C);
  require(mixer.rope->channels() == C, "DualGatedAttention: rope turns ", mixer.rope->channels(),
          " channels of ", C);
  if (B * N == 0) return;
  const Arena::Frame frame(ctx.arena());
  const auto take = [&](Index channels) {
    return View<T, 3>(ctx.arena().template take<T>(B * N * channels), {B, N, channels});
  };
  const auto rows = [](const auto& view) { return detail::as_rows("x", view); };
  const auto both = take(2 * C), hidden = take(mixer.up.rows()), v = take(C);
  const View<T, 3> factor(ctx.arena().template take<T>(B * mixer.heads * N), {B, mixer.heads, N});
  mixer.qk.apply(rows(tokens), rows(both), ctx);
  mixer.up.apply(rows(tokens), rows(hidden), Activate<Silu>{}, ctx);
  mixer.down.apply(rows(View<const T, 3>(hidden)), rows(v), ctx);

  const auto q = both.slice(2, 0, C), k = both.slice(2, C, C);
  const auto heads = [&](const auto& view) { return heads_of_tokens(view, mixer.heads); };
  detail::mean_normalisers<A>(heads(q), heads(k), mixer.eps, factor, ctx);
  const GridPositions at = grid_positions(map.extent(1), map.extent(2));
  for (const auto& part : {q, k}) {
    const auto whole = unsqueeze(part).transpose(0, 1);
    apply_rope2d<A>(*mixer.rope, whole, whole, at.y, at.x, ctx);
  }
  const LinearAttention linear{ScaledQueries<Identity, T>{{}, factor},
                               NoDecay{},
                               Additive{},
                               NoDenominator{},
                               1 / static_cast<double>(N),
                               Order::bidirectional};
  forward<A>(linear, heads(q), heads(k), heads(v), heads_of_map(to, mixer.heads), ctx);
  mixer.conv->add(map_of_tokens(v, map.extent(1)), to, ctx);
}

/// x *= silu(gate), arrays of one shape [B, N, C].
template <class A = DefaultArch, ViewLike<3> X, ViewLike<3> G>
void gate_with_silu(X&& x, const G& gate, const Context& ctx = Context()) {
  const auto to = view_of(x);
  using S = typename decltype(to)::value_type;
  using T = Accumulator<S>;
  const View<const S, 3> by = view_of(gate);
  detail::require_same_rows("gate_with_silu", "x", to, "gate", by);
  detail::for_each_row(
      ctx,
      [n = to.extent(2)](Index, S* row, const S* g) {
        for (Index d = 0; d < n; d += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, n - d);
          const Vec<T, A> open = math::silu(load_as_partial<T, A>(g + d, lanes));
          store_as_partial<A>(row + d, Vec<T, A>(load_as_partial<T, A>(row + d, lanes) * open),
                              lanes);
        }
      },
      to, by);
}

}  // namespace weft
