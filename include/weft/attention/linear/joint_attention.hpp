#pragma once

#include <weft/attention/softmax/block_diagonal.hpp>
#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/core/gemm.hpp>
#include <weft/layer/rows.hpp>

#include <cstdint>

namespace weft {

/// Joint local and global attention of FLASH (Transformer Quality in Linear Time, arXiv:2202.10447)
/// and MossFormer (MossFormer: Pushing the Performance Limit of Monaural Speech Separation using
/// Gated Single-head Transformer with Convolution-Augmented Joint Self-Attentions,
/// arXiv:2302.11824). Tokens come in groups of g:
///
///   local    o_i = sum_j relu(q_i . k_j / g + bias(j - i))^2 v_j           within the group of i
///   global   o_i += (1 / N) q'_i . (sum_j k'_j v_j^T)                      over all tokens, or
///            o_i += (1 / g) q'_i . (sum_j k'_j v_j^T)                      if causal, over the
///                                                                          groups before that of i
///
/// the local part likewise for j <= i. There is no feature map and no denominator. q, k, q', k' [B,
/// N, S] are four copies of one projection, `offset_scale` of it; FLASH and MossFormer may turn
/// them by RoPE before. v, out [B, N, E].
///
/// bias [2 g - 1] is that of distances 1 - g .. g - 1, T5's times sqrt(S) in FLASH, none in
/// MossFormer. Tokens from lengths [B] on weigh nothing. The last group may be short.
///
/// Time O(B N (g (S + E) + S E)), by the softmax engine and matrix products; scratch S E and, with
/// a bias, N numbers. Throws where shapes disagree or g is not positive.
template <class T = float>
struct JointAttention {
  Index group = 256;
  bool causal = false;
  View<const T, 1> bias = {};
  View<const std::int32_t, 1> lengths = {};
};

namespace detail {

/// C(m, n) = values(m, n) + factor acc.
template <class T>
struct AddScaled {
  View<const T, 2> values;
  T factor;

  template <class V>
  V operator()(V acc, Index row, Index col, Index lanes) const noexcept {
    return mul_add(acc, V(factor), load_lanes<V>(values.pointer(row) + col, lanes));
  }
};

/// [N, C] as [1, 1, N, C].
template <class T>
View<T, 4> one_head_of(const View<T, 2>& x) noexcept {
  return unsqueeze(unsqueeze(x));
}

/// The bias of a group for distances of the whole sequence, where those beyond a group are not
/// asked for: [1, 2 N - 1], distance 0 at N - 1.
template <class T>
View<const T, 2> stretched_bias(const JointAttention<T>& mixer, Index tokens, Arena& arena) {
  const Index length = 2 * tokens - 1, reach = std::min(mixer.group, tokens) - 1;
  T* table = arena.take<T>(length);
  std::fill_n(table, length, T(0));
  if (mixer.bias.data() != nullptr)
    for (Index d = -reach; d <= reach; ++d) table[tokens - 1 + d] = mixer.bias(mixer.group - 1 + d);
  return {table, {1, length}};
}

/// The local part of one sequence.
template <class A, class T, class V, class O>
void local_attention(const JointAttention<T>& mixer, Index visible, View<const T, 2> q,
                     View<const T, 2> k, const View<const V, 2>& v, const View<O, 2>& out,
                     const Context& ctx) {
  const Arena::Frame frame(ctx.arena());
  const Index N = q.extent(0);
  const RelativeBias<T> bias{stretched_bias(mixer, N, ctx.arena()), N - 1};
  const Softmax local{
      And{And{BlockDiagonal{mixer.group}, Window{-1, mixer.causal ? 0 : -1}}, FirstKeys{visible}},
      bias, ReluWeights<2>{Count::one}, 1 / static_cast<double>(mixer.group)};
  forward<A>(local, one_head_of(q), one_head_of(k), one_head_of(v), one_head_of(out), ctx);
}

/// The global part of one sequence, added: groups before, or everything visible.
template <class A, class T, class V, class O>
void global_attention(const JointAttention<T>& mixer, Index visible, View<const T, 2> q,
                      View<const T, 2> k, const View<const V, 2>& v, const View<O, 2>& out,
                      const Context& ctx) {
  const Arena::Frame frame(ctx.arena());
  const Index N = q.extent(0), S = q.extent(1), E = v.extent(1);
  const View<T, 2> state(ctx.arena().template take<T>(S * E), {S, E});
  std::fill_n(state.data(), S * E, T(0));
  const auto read = [&](Index at, Index n, Index divisor) {
    const View<O, 2> to = out.slice(0, at, n);
    gemm<A>(q.slice(0, at, n), state, to,
            AddScaled<O>{to, static_cast<O>(1 / static_cast<double>(divisor))}, ctx);
  };
  const auto write = [&](Index at, Index n) {
    gemm<A>(k.slice(0, at, n).transpose(0, 1), v.slice(0, at, n), state, AddResidual<T>{state},
            ctx);
  };
  if (!mixer.causal) {
    write(0, visible);
    return read(0, N, N);
  }
  for (Index at = 0; at < N; at += mixer.group) {
    const Index n = std::min(mixer.group, N - at);
    if (at > 0) read(at, n, mixer.group);
    if (at < visible) write(at, std::min(n, visible - at));
  }
}

template <class T>
void check_joint(const JointAttention<T>& mixer, Index batch) {
  require(mixer.group >= 1, "JointAttention: group is ", mixer.group, ", must be at least 1");
  require(mixer.bias.data() == nullptr || mixer.bias.extent(0) == 2 * mixer.group - 1,
          "JointAttention: bias has ", mixer.bias.extent(0), " distances, a group of ", mixer.group,
          " tokens has ", 2 * mixer.group - 1);
  require(mixer.lengths.data() == nullptr || mixer.lengths.extent(0) == batch,
          "JointAttention: ", mixer.lengths.extent(0), " lengths for ", batch, " sequences");
}

}  // namespace detail

/// The four copies of z [.., S]: to[i] = z gamma_i + beta_i, gamma and beta [n, S], to [n, .., S].
template <class A = DefaultArch, class T, ViewLike<3> Z, ViewLike<4> Y>
void offset_scale(View<const T, 2> gamma, View<const T, 2> beta, const Z& z, Y&& to,
                  const Context& ctx = Context()) {
  const View<const T, 3> from = view_of(z);
  const View<T, 4> copies = view_of(to);
  const Index S = from.extent(2);
  require(
      gamma.shape() == beta.shape() && gamma.extent(0) == copies.extent(0) && gamma.extent(1) == S,
      "offset_scale: gamma is ", gamma, ", beta ", beta, ", wanted [", copies.extent(0), ", ", S,
      "]");
  require(S == 1 || (gamma.stride(1) == 1 && beta.stride(1) == 1),
          "offset_scale: gamma and beta must have contiguous rows");
  for (Index i = 0; i < copies.extent(0); ++i) {
    const View<T, 3> copy = copies.select(0, i);
    detail::require_same_rows("offset_scale", "z", from, "a copy", copy);
    const T *scale = gamma.pointer(i), *offset = beta.pointer(i);
    detail::for_each_row(
        ctx,
        [=](Index, const T* row, T* out) {
          for (Index d = 0; d < S; d += kWidth<T, A>) {
            const Index lanes = std::min(kWidth<T, A>, S - d);
            store_partial<A>(
                out + d,
                mul_add(load_partial<A>(row + d, lanes), load_partial<A>(scale + d, lanes),
                        load_partial<A>(offset + d, lanes)),
                lanes);
          }
        },
        from, copy);
  }
}

/// q, k: local; q2, k2: global.
template <class A = DefaultArch, class T, ViewLike<3> Q, ViewLike<3> K, ViewLike<3> Q2,
          ViewLike<3> K2, ViewLike<3> V, ViewLike<3> O>
void forward(const JointAttention<T>& mixer, const Q& q, const K& k, const Q2& q2, const K2& k2,
             const V& v, O&& out, const Context& ctx = Context()) {
  using S = typename decltype(view_of(v))::value_type;
  const View<const T, 3> all[4] = {view_of(q), view_of(k), view_of(q2), view_of(k2)};
  const View<const S, 3> values = view_of(v);
  const auto to = view_of(out);
  const Index B = values.extent(0), N = values.extent(1);
  detail::check_joint(mixer, B);
  for (const auto& x : all)
    require(x.shape() == all[0].shape() && x.extent(0) == B && x.extent(1) == N,
            "JointAttention: q is ", all[0], ", another of q, k, q2, k2 is ", x, ", v ", values,
            "; wanted [B, N, S] four times and [B, N, E]");
  require(to.shape() == values.shape(), "JointAttention: v is ", values, ", out ", to,
          "; give both the same shape");
  if (N == 0) return;
  for (Index b = 0; b < B; ++b) {
    const Index visible =
        mixer.lengths.data() == nullptr ? N : std::clamp<Index>(mixer.lengths(b), 0, N);
    const auto of = [b](const auto& x) { return x.select(0, b); };
    detail::local_attention<A>(mixer, visible, of(all[0]), of(all[1]), of(values), of(to), ctx);
    detail::global_attention<A>(mixer, visible, of(all[2]), of(all[3]), of(values), of(to), ctx);
  }
}

/// MossFormer's triple gate of both attended values, out = (a_u v) sigmoid(a_v u): all [B, N, E].
template <class A = DefaultArch, ViewLike<3> X, ViewLike<3> Y>
void triple_gate(const X& attended_v, const X& attended_u, const X& v, const X& u, Y&& out,
                 const Context& ctx = Context()) {
  const auto to = view_of(out);
  using S = typename decltype(to)::value_type;
  using T = Accumulator<S>;
  const View<const S, 3> from[4] = {view_of(attended_v), view_of(attended_u), view_of(v),
                                    view_of(u)};
  for (const auto& x : from) detail::require_same_rows("triple_gate", "out", to, "an input", x);
  const Index E = to.extent(2);
  detail::for_each_row(
      ctx,
      [=](Index, S* row, const S* av, const S* au, const S* vs, const S* us) {
        for (Index e = 0; e < E; e += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, E - e);
          const auto at = [=](const S* x) { return load_as_partial<T, A>(x + e, lanes); };
          const Vec<T, A> gate = math::sigmoid(Vec<T, A>(at(av) * at(us)));
          store_as_partial<A>(row + e, Vec<T, A>(at(au) * at(vs) * gate), lanes);
        }
      },
      to, from[0], from[1], from[2], from[3]);
}

}  // namespace weft
