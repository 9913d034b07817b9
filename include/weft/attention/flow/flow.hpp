#pragma once

#include <weft/attention/flow/passes.hpp>
#include <weft/attention/linear/decorated_feature.hpp>
#include <weft/attention/linear/stream.hpp>

namespace weft {

/// Flow-Attention (Flowformer: Linearizing Transformers with Conservation Flows, arXiv:2202.06258):
/// linear attention whose sources (keys) and sinks (queries) conserve what flows through them. With
/// q and k after a positive feature map (sigmoid), eps in every component, sums over all tokens:
///
///   I_i = 1 / ((q_i + eps) . (sum_j k_j + eps))         incoming flow of a sink
///   O_j = 1 / ((k_j + eps) . (sum_i q_i + eps))         outgoing flow of a source
///   I^_i = (q_i + eps) . (sum_j k_j O_j + eps)          conserved
///   O^_j = clamp((k_j + eps) . (sum_i q_i I_i + eps))   conserved, within [-clamp, clamp]
///   out_i = sigmoid(I^_i N / M) sum_j (q_i I_i . k_j) M softmax_j(O^) v_j
///
/// and causally, with n_i = i + 1 and all sums up to the token itself:
///
///   I_i = n_i / (..),  O_i = n_i / (..),  I^_i = (..) / n_i,  O^_i = clamp((..) / n_i)
///   c_i = n_i exp(O^_i) / sum_{j <= i} exp(O^_j)        fixed when the token arrives
///   out_i = sigmoid(I^_i) sum_{j <= i} (q_i I_i / n_i . k_j) c_j v_j
///
/// The last causal row is not the last bidirectional one: they are normalised differently. The
/// clamp of the published code is 1, but 5 for language models and 10 for reinforcement learning.
///
/// Shapes and types are those of LinearAttention; Order::bidirectional needs at least one key. No
/// padding: cut the sequences. Modes: forward; causal also prefill and step with a FlowState of
/// D E + 4 D numbers per head. Time 4 N D E operations and about N D times 40 for the passes before
/// them; scratch N + M numbers per head. Throws where shapes disagree, clamp is not in (0, 80] or
/// eps not positive.
template <FeatureMap F = Sigmoid>
struct FlowAttention {
  Order order = Order::causal;
  double clamp = 1;
  double eps = 1e-6;
  F feature{};
};
FlowAttention() -> FlowAttention<>;
FlowAttention(Order) -> FlowAttention<>;
FlowAttention(Order, double) -> FlowAttention<>;

/// S of the linear engine, and per head the sums of k, q, k O, q I [4, F] and of exp(O^).
template <class T = float>
struct FlowState {
  LinearState<T> linear;
  Tensor<T, 4> sums;
  Tensor<double, 2> competition;

  /// To save, restore or roll back.
  FlowState clone() const { return {linear.clone(), sums.clone(), competition.clone()}; }
  Index bytes() const noexcept {
    return linear.bytes() + sums.size() * Index{sizeof(T)} +
           competition.size() * Index{sizeof(double)};
  }
};

namespace detail {

template <class T>
struct FlowScratch {
  View<T, 3> query_factor, value_weight;
};

/// The engine with the scalars of the passes.
template <class T, class F>
auto flow_engine(const FlowAttention<F>& mixer, const FlowScratch<T>& scalars) {
  using Map = ScaledQueries<F, T>;
  return LinearAttention<Map, NoDecay, Weighted<T>, NoDenominator>{
      Map{mixer.feature, scalars.query_factor},
      NoDecay{},
      Weighted<T>(scalars.value_weight),
      NoDenominator{},
      1.0,
      mixer.order};
}

template <class F>
void check_flow(const FlowAttention<F>& mixer) {
  require(mixer.clamp > 0 && mixer.clamp <= 80, "FlowAttention: clamp is ", mixer.clamp,
          ", must be in (0, 80]");
  require(mixer.eps > 0 && std::isfinite(mixer.eps), "FlowAttention: eps is ", mixer.eps,
          ", must be positive");
}

template <class T>
FlowScratch<T> flow_scratch(const LinearProblem<T>& p, Arena& arena) {
  const auto take = [&](Index tokens) {
    const std::array<Index, 3> shape{p.sequences, p.heads, tokens};
    return View<T, 3>(arena.take<T>(p.sequences * p.heads * tokens), shape);
  };
  return {take(p.queries), take(p.keys)};
}

/// Shapes as the engine will see them; the feature map of `mixer` alone.
template <class T, class A, class F, class Q, class K, class V, class O>
LinearProblem<T> flow_problem(const FlowAttention<F>& mixer, const Q& q, const K& k, const V& v,
                              O&& out) {
  check_flow(mixer);
  const LinearAttention<F> shape{mixer.feature, {}, {}, {}, 1.0, mixer.order};
  const auto p = linear_problem<T, A>(shape, View<const Element<const Q>, 4>(view_of(q)),
                                      View<const Element<const K>, 4>(view_of(k)),
                                      View<const Element<const V>, 4>(view_of(v)), view_of(out));
  require(p.keys > 0 || p.queries == 0, "FlowAttention: there are queries but no keys");
  return p;
}

/// All heads: body(head, index of sequence and head, its scalars).
template <class A, class T, class F, class Body>
void for_each_flow(const FlowAttention<F>& mixer, const LinearProblem<T>& p,
                   const FlowScratch<T>& scalars, const Context& ctx, Body body) {
  ctx.parallel(p.sequences * p.heads, [&](Index task, Arena& arena) {
    const Index b = task / p.heads, h = task % p.heads;
    FlowHead<T, A, F> head(p, mixer.feature, mixer.clamp, mixer.eps, b, h, arena);
    body(head, b, h,
         FlowScalars<T>{scalars.query_factor.pointer(b, h), scalars.value_weight.pointer(b, h)});
  });
}

template <class T>
FlowSums<T> flow_sums(FlowState<T>& state, Index b, Index h) noexcept {
  const auto sums = [&](Index which) { return &state.sums(b, h, which, 0); };
  return {sums(0), sums(1), sums(2), sums(3), &state.competition(b, h), state.linear.position};
}

}  // namespace detail

/// An empty state; T is that of the arithmetic.
template <class T = float, class F>
FlowState<T> make_state(const FlowAttention<F>& mixer, const StateSizes& sizes) {
  const LinearAttention<F> shape{mixer.feature};
  const Index padded =
      round_up(detail::feature_count(mixer.feature, sizes.key_dim), Index{kAlignment / sizeof(T)});
  return {make_state<T>(shape, sizes), Tensor<T, 4>({sizes.batch, sizes.heads, 4, padded}),
          Tensor<double, 2>({sizes.batch, sizes.heads})};
}

template <class A = DefaultArch, class F, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void prefill(const FlowAttention<F>& mixer, FlowState<T>& state, const Q& q, const K& k, const V& v,
             O&& out, const Context& ctx = Context()) {
  static_assert(std::is_same_v<T, Accumulator<detail::Element<const Q>>>,
                "the state must be fp64 for fp64, else fp32");
  auto p = detail::flow_problem<T, A>(mixer, q, k, v, out);
  p.position = state.linear.position;
  const Arena::Frame frame(ctx.arena());
  const auto scalars = detail::flow_scratch(p, ctx.arena());
  const auto engine = detail::flow_engine(mixer, scalars);
  (void)detail::state_rows(engine, state.linear, p);
  detail::for_each_flow<A>(mixer, p, scalars, ctx, [&](auto& head, Index b, Index h, auto to) {
    head.causal(detail::flow_sums(state, b, h), to);
  });
  prefill<A>(engine, state.linear, q, k, v, out, ctx);
}

template <class A = DefaultArch, class F, class T, ViewLike<3> Q, ViewLike<3> K, ViewLike<3> V,
          ViewLike<3> O>
void step(const FlowAttention<F>& mixer, FlowState<T>& state, const Q& q, const K& k, const V& v,
          O&& out, const Context& ctx = Context()) {
  prefill<A>(mixer, state, detail::token_of(q), detail::token_of(k), detail::token_of(v),
             detail::one_token(view_of(out)), ctx);
}

/// The whole sequence at once.
template <class A = DefaultArch, class F, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const FlowAttention<F>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using T = Accumulator<detail::Element<const Q>>;
  const auto p = detail::flow_problem<T, A>(mixer, q, k, v, out);
  const Arena::Frame frame(ctx.arena());
  const auto scalars = detail::flow_scratch(p, ctx.arena());
  detail::for_each_flow<A>(mixer, p, scalars, ctx, [&](auto& head, Index, Index, auto to) {
    if (mixer.order == Order::causal)
      head.causal(to);
    else
      head.bidirectional(to);
  });
  forward<A>(detail::flow_engine(mixer, scalars), q, k, v, out, ctx);
}

}  // namespace weft
