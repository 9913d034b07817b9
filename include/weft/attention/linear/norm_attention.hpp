#pragma once

#include <weft/attention/linear/stream.hpp>
#include <weft/layer/heads.hpp>
#include <weft/layer/norm.hpp>

namespace weft {

/// NormAttention (TransNormer: The Devil in Linear Transformer, arXiv:2210.10340): linear attention
/// without a denominator, and then a norm over all heads of a token together,
///
///   o_i = sum_j (phi(q_i) . phi(k_j)) v_j                       j <= i if causal
///   out_i = norm([o_i of head 0, o_i of head 1, ...])           y / (rms(y) + 1e-8)
///
/// phi is elu (TransNormer T1) or elu + 1 (T2). Any feature map, any norm of layer/norm.hpp, any
/// LinearAttention as `mixer`. out [B, H, N, E] must hold the heads of a token side by side: the
/// view of a [B, N, H E] buffer (heads_of_tokens). The local half of TransNormer is DiagAttention
/// of attention/softmax/block_diagonal.hpp.
///
///   NormAttention norm{LinearAttention{Elu{}}, SimpleRmsNorm<float>{}};
///   forward(norm, q, k, v, heads_of_tokens(out.view(), H));
///
/// Verbs, shapes, cost and errors are those of LinearAttention.
template <class M = LinearAttention<EluPlusOne>, class Norm = SimpleRmsNorm<float>>
struct NormAttention {
  M mixer{};
  Norm norm{};
};
template <class M, class Norm>
NormAttention(M, Norm) -> NormAttention<M, Norm>;

template <class A = DefaultArch, class M, class Norm, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const NormAttention<M, Norm>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  const auto rows = tokens_of_heads(view_of(out));
  forward<A>(mixer.mixer, q, k, v, out, ctx);
  normalize<A>(mixer.norm, rows, rows, ctx);
}

template <class T = float, class M, class Norm>
LinearState<T> make_state(const NormAttention<M, Norm>& mixer, const StateSizes& sizes) {
  return make_state<T>(mixer.mixer, sizes);
}

template <class A = DefaultArch, class M, class Norm, class T, ViewLike<4> Q, ViewLike<4> K,
          ViewLike<4> V, ViewLike<4> O>
void prefill(const NormAttention<M, Norm>& mixer, LinearState<T>& state, const Q& q, const K& k,
             const V& v, O&& out, const Context& ctx = Context()) {
  const auto rows = tokens_of_heads(view_of(out));
  prefill<A>(mixer.mixer, state, q, k, v, out, ctx);
  normalize<A>(mixer.norm, rows, rows, ctx);
}

template <class A = DefaultArch, class M, class Norm, class T, ViewLike<3> Q, ViewLike<3> K,
          ViewLike<3> V, ViewLike<3> O>
void step(const NormAttention<M, Norm>& mixer, LinearState<T>& state, const Q& q, const K& k,
          const V& v, O&& out, const Context& ctx = Context()) {
  prefill<A>(mixer, state, detail::token_of(q), detail::token_of(k), detail::token_of(v),
             detail::one_token(view_of(out)), ctx);
}

}  // namespace weft
