#pragma once

#include <weft/attention/linear/mixer.hpp>
#include <weft/core/tensor.hpp>

/// Linear attention token by token or chunk by chunk, over a state of fixed size.
///
///   auto state = make_state(mixer, {.batch = B, .heads = H, .key_dim = D, .value_dim = E});
///   prefill(mixer, state, q, k, v, out);      n tokens: q [B, Hq, n, D], k [B, Hk, n, D], v, out
///   step(mixer, state, q, k, v, out);         one token: q [B, Hq, D], k [B, Hk, D], v, out
///
/// Row for row what forward gives on the whole sequence, up to rounding. The mixer of a call holds
/// the data of its tokens: a TokenDecay of step is [B, H, 1].
namespace weft {

/// Sizes of a recurrent state; `heads` are those of the output.
struct StateSizes {
  Index batch = 1;
  Index heads = 1;
  Index key_dim = 0;    ///< D, before the feature map
  Index value_dim = 0;  ///< E; 0 means D
};

/// S [B, H, F, E], key-major, the sum of keys z [B, H, F] (empty where the mixer has no
/// denominator) and how many tokens they have seen. T is fp32, or fp64 for fp64 queries.
template <class T = float>
struct LinearState {
  Tensor<T, 4> s;
  Tensor<T, 3> z;
  Index position = 0;

  /// To save, restore or roll back.
  LinearState clone() const {
    return {s.clone(), z.size() == 0 ? Tensor<T, 3>() : z.clone(), position};
  }
  Index bytes() const noexcept { return (s.size() + z.size()) * static_cast<Index>(sizeof(T)); }
};

namespace detail {

template <class T, class F, class D, class U, class Z>
StateRows<T> state_rows(const LinearAttention<F, D, U, Z>& mixer, LinearState<T>& state,
                        const LinearProblem<T>& p) {
  require(p.causal, "prefill and step need the causal order");
  const std::array<Index, 4> shape{p.sequences, p.heads, feature_count(mixer.feature, p.dim),
                                   p.value_dim};
  require(state.s.shape() == shape, "the state is ", state.s.view(), ", the call needs [", shape[0],
          ", ", shape[1], ", ", shape[2], ", ", shape[3], "]");
  require(!Z::needed || state.z.shape() == std::array{shape[0], shape[1], shape[2]},
          "the state has sums of keys ", state.z.view(), ", the call needs [", shape[0], ", ",
          shape[1], ", ", shape[2], "]");
  return {state.s.data(),
          shape[1] * shape[2] * shape[3],
          shape[2] * shape[3],
          shape[3],
          state.z.data(),
          shape[1] * shape[2],
          shape[2]};
}

}  // namespace detail

/// An empty state; T is that of the arithmetic.
template <class T = float, class F, class D, class U, class Z>
LinearState<T> make_state(const LinearAttention<F, D, U, Z>& mixer, const StateSizes& sizes) {
  require(sizes.batch >= 1 && sizes.heads >= 1 && sizes.key_dim >= 1 && sizes.value_dim >= 0,
          "StateSizes: batch, heads and head sizes must be positive");
  const Index features = detail::feature_count(mixer.feature, sizes.key_dim);
  const Index columns = sizes.value_dim == 0 ? sizes.key_dim : sizes.value_dim;
  LinearState<T> state{Tensor<T, 4>({sizes.batch, sizes.heads, features, columns}), {}, 0};
  if (Z::needed) state.z = Tensor<T, 3>({sizes.batch, sizes.heads, features});
  return state;
}

template <class A = DefaultArch, class F, class D, class U, class Z, class T, ViewLike<4> Q,
          ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void prefill(const LinearAttention<F, D, U, Z>& mixer, LinearState<T>& state, const Q& q,
             const K& k, const V& v, O&& out, const Context& ctx = Context()) {
  using E = detail::Element<const Q>;
  static_assert(std::is_same_v<T, Accumulator<E>>, "the state must be fp64 for fp64, else fp32");
  auto p = detail::linear_problem<T, A>(
      mixer, View<const E, 4>(view_of(q)), View<const detail::Element<const K>, 4>(view_of(k)),
      View<const detail::Element<const V>, 4>(view_of(v)), view_of(out));
  p.state = detail::state_rows(mixer, state, p);
  p.position = state.position;
  detail::run_mixer<A>(mixer, p, p.sequences, ctx);
  state.position += p.queries;
}

template <class A = DefaultArch, class F, class D, class U, class Z, class T, ViewLike<3> Q,
          ViewLike<3> K, ViewLike<3> V, ViewLike<3> O>
void step(const LinearAttention<F, D, U, Z>& mixer, LinearState<T>& state, const Q& q, const K& k,
          const V& v, O&& out, const Context& ctx = Context()) {
  prefill<A>(mixer, state, detail::token_of(q), detail::token_of(k), detail::token_of(v),
             detail::one_token(view_of(out)), ctx);
}

/// Sequences of different lengths end to end, as in forward_ragged, each with the state of its
/// number in `state` [sequences, H, F, E]. They need not have seen equally many tokens, so the
/// state's position stays, and the mixer must not depend on it: no rotation, no denominator.
template <class A = DefaultArch, class F, class D, class U, class Z, class T, ViewLike<3> Q,
          ViewLike<3> K, ViewLike<3> V, ViewLike<1> C, ViewLike<3> O>
void prefill_ragged(const LinearAttention<F, D, U, Z>& mixer, LinearState<T>& state, const Q& q,
                    const K& k, const V& v, const C& cu, O&& out, const Context& ctx = Context()) {
  static_assert(!Z::needed, "prefill_ragged: a denominator counts the tokens of its sequence");
  auto p = detail::ragged_problem<T, A>(mixer, q, k, v, cu, out);
  p.state = detail::state_rows(mixer, state, p);
  detail::run_mixer<A>(mixer, p, 1, ctx);
}

}  // namespace weft
