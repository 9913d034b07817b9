#pragma once

#include <weft/attention/linear/engine.hpp>
#include <weft/core/arguments.hpp>

namespace weft {

/// Which keys a query sees: those up to its own token, or all.
enum class Order { causal, bidirectional };

/// Linear attention: a mixer whose state has a fixed size, S [F, E] per head, instead of a cache.
///
///   S_t = diag(a_t) S_{t-1} + phi(k_t) u_t^T                   u_t = v_t, or what `update` says
///   z_t = diag(a_t) z_{t-1} + phi(k_t)
///   out_t = scale S_t^T phi(q_t)                               times what `denominator` says of
///                                                              scale z_t . phi(q_t)
///
/// or, for Order::bidirectional, with the sums over all keys in place of S_t and z_t (no decay, no
/// delta rule). The linear transformer (Transformers are RNNs: Fast Autoregressive Transformers
/// with Linear Attention, arXiv:2006.16236) has phi(x) = elu(x) + 1 and divides by z_t . phi(q_t) +
/// 1e-6; the other variants differ by their feature map phi (feature.hpp), decay a (decay.hpp),
/// update (update.hpp) and denominator (denominator.hpp).
///
/// q [B, Hq, N, D], k [B, Hk, M, D], v [B, Hv, M, E], out [B, H, N, E], where H is a multiple of
/// Hq, Hk and Hv; head h reads head h / (H / Hq) of q and likewise. Causal order asks for N = M.
/// Any strides, but 1 in the last axis; out shares no memory with q, k and v. N, M and B may be
/// zero; a query without keys gets 0.
///
/// Storage fp32, bf16, fp16 with fp32 arithmetic and state, or fp64. A token that is not finite
/// reaches itself and the tokens after it. Time O(H (N + M) F E), with the schedule of engine.hpp;
/// scratch per thread a few times (48 + E) F. Heads and sequences are tasks, so that results do not
/// depend on the number of threads.
///
///   LinearAttention plain;                                       S += k v^T, scale 1
///   LinearAttention elu{EluPlusOne{}, NoDecay{}, Additive{}, PlusEpsilon{1e-6}};
///   LinearAttention gated{Identity{}, ChannelDecay{log_gate}, Additive{}, NoDenominator{}, 0.0};
template <class F = Identity, class D = NoDecay, class U = Additive, class Z = NoDenominator>
struct LinearAttention {
  static_assert(FeatureMap<F>, "the first policy of LinearAttention must model FeatureMap");
  static_assert(Denominator<Z>, "the fourth policy of LinearAttention must model Denominator");
  static_assert(!(U::reads_state && Z::needed), "the delta rule has no denominator");

  F feature{};
  D decay{};
  U update{};
  Z denominator{};
  double scale = 1;  ///< of the result; 0 means 1 / sqrt(D)
  Order order = Order::causal;
};
LinearAttention() -> LinearAttention<>;
template <class F>
LinearAttention(F) -> LinearAttention<F>;
template <class F, class D>
LinearAttention(F, D) -> LinearAttention<F, D>;
template <class F, class D, class U>
LinearAttention(F, D, U) -> LinearAttention<F, D, U>;
template <class F, class D, class U, class Z>
LinearAttention(F, D, U, Z) -> LinearAttention<F, D, U, Z>;
template <class F, class D, class U, class Z>
LinearAttention(F, D, U, Z, double) -> LinearAttention<F, D, U, Z>;
template <class F, class D, class U, class Z>
LinearAttention(F, D, U, Z, double, Order) -> LinearAttention<F, D, U, Z>;

namespace detail {

inline Index shared_heads(const char* name, Index own, Index heads) {
  require(own >= 1 && heads % own == 0, "out has ", heads, " heads, ", name, " ", own,
          "; the first must be a multiple of the second");
  return heads / own;
}

/// What the shapes of a call say; throws where they do not fit.
template <class T, class A, class Mixer, class Q, class K, class V, class O>
LinearProblem<T> linear_problem(const Mixer& mixer, View<const Q, 4> q, View<const K, 4> k,
                                View<const V, 4> v, View<O, 4> out) {
  require_channels(q, "q");
  require_channels(k, "k");
  require_channels(v, "v");
  require_channels(out, "out");
  for (std::size_t axis : {0u, 2u}) require_axis(q, "q", out, "out", axis, "batch size and length");
  require_axis(k, "k", v, "v", 2, "length");
  require_axis(q, "q", k, "k", 0, "batch size");
  require_axis(q, "q", v, "v", 0, "batch size");
  require_axis(q, "q", k, "k", 3, "head size");
  require_axis(v, "v", out, "out", 3, "head size");
  require(std::isfinite(mixer.scale), "LinearAttention: scale must be finite, got ", mixer.scale);
  const bool causal = mixer.order == Order::causal;
  if (causal) require_axis(q, "q", k, "k", 2, "length, the order being causal,");
  const Index heads = out.extent(1), dim = q.extent(3);
  LinearProblem<T> p{};
  p.sequences = q.extent(0);
  p.heads = heads;
  p.queries = q.extent(2);
  p.keys = k.extent(2);
  p.dim = dim;
  p.features = feature_count(mixer.feature, dim);
  p.value_dim = v.extent(3);
  p.causal = causal;
  p.scale = mixer.scale != 0 ? mixer.scale : 1 / std::sqrt(static_cast<double>(dim));
  if (heads > 0) {
    p.q = input_rows<T, A>(q, shared_heads("q", q.extent(1), heads));
    p.k = input_rows<T, A>(k, shared_heads("k", k.extent(1), heads));
    p.v = input_rows<T, A>(v, shared_heads("v", v.extent(1), heads));
  }
  p.out = output_rows<T, A>(out);
  return p;
}

/// Sequences end to end: [T, H, C] each, prefix sums cu.
template <class T, class A, class Mixer, class Q, class K, class V, class C, class O>
LinearProblem<T> ragged_problem(const Mixer& mixer, const Q& q, const K& k, const V& v, const C& cu,
                                O&& out) {
  const auto as_batch = [](auto view) { return unsqueeze(view).transpose(1, 2); };
  const View<const std::int32_t, 1> sums = view_of(cu);
  auto p = linear_problem<T, A>(mixer, as_batch(View<const Element<const Q>, 3>(view_of(q))),
                                as_batch(View<const Element<const K>, 3>(view_of(k))),
                                as_batch(View<const Element<const V>, 3>(view_of(v))),
                                as_batch(view_of(out)));
  require(sums.stride(0) == 1 || sums.extent(0) <= 1, "cu must be contiguous");
  check_prefix_sums(sums, p.queries, "cu");
  p.sequences = sums.extent(0) - 1;
  p.cu = sums.data();
  return p;
}

/// Checks the policies against the data of the call and runs it.
template <class A, class T, class F, class D, class U, class Z>
void run_mixer(const LinearAttention<F, D, U, Z>& mixer, const LinearProblem<T>& p, Index batch,
               const Context& ctx) {
  require(p.causal || (D::kind == DecayKind::none && !U::reads_state),
          "LinearAttention: a decay or the delta rule needs the causal order");
  check_feature(mixer.feature, batch, p.heads, p.dim);
  check_feature_positions(mixer.feature, p.position, p.position + std::max(p.queries, p.keys));
  mixer.decay.check(batch, p.heads, p.queries, p.features);
  mixer.update.check(batch, p.heads, p.keys);
  run_linear<A>(p, mixer.feature, mixer.decay, mixer.update, mixer.denominator, ctx);
}

}  // namespace detail

/// The whole sequence at once, from an empty state. Throws weft::error when shapes do not fit.
template <class A = DefaultArch, class F, class D, class U, class Z, ViewLike<4> Q, ViewLike<4> K,
          ViewLike<4> V, ViewLike<4> O>
void forward(const LinearAttention<F, D, U, Z>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using E = detail::Element<const Q>;
  using T = Accumulator<E>;
  const auto p = detail::linear_problem<T, A>(
      mixer, View<const E, 4>(view_of(q)), View<const detail::Element<const K>, 4>(view_of(k)),
      View<const detail::Element<const V>, 4>(view_of(v)), view_of(out));
  detail::run_mixer<A>(mixer, p, p.sequences, ctx);
}

/// Sequences of different lengths end to end: q [T, Hq, D], k [T, Hk, D], v [T, Hv, E], out
/// [T, H, E], prefix sums cu [B + 1] of the lengths. Data of policies are those of one batch
/// element of T tokens: a TokenDecay is [1, H, T].
template <class A = DefaultArch, class F, class D, class U, class Z, ViewLike<3> Q, ViewLike<3> K,
          ViewLike<3> V, ViewLike<1> C, ViewLike<3> O>
void forward_ragged(const LinearAttention<F, D, U, Z>& mixer, const Q& q, const K& k, const V& v,
                    const C& cu, O&& out, const Context& ctx = Context()) {
  using E = detail::Element<const Q>;
  using T = Accumulator<E>;
  const auto p = detail::ragged_problem<T, A>(mixer, q, k, v, cu, out);
  detail::run_mixer<A>(mixer, p, 1, ctx);
}

}  // namespace weft
