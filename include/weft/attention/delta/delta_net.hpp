#pragma once

#include <weft/attention/linear/mixer.hpp>

namespace weft {

/// DeltaNet (Parallelizing Linear Transformers with the Delta Rule over Sequence Length,
/// arXiv:2406.06484; the rule is that of Linear Transformers Are Secretly Fast Weight Programmers,
/// arXiv:2102.11174):
///
///   S_t = S_{t-1} + k_t beta_t (v_t - S_{t-1}^T k_t)^T,   out_t = S_t^T q_t / sqrt(D)
///
/// What the state holds for the key k_t moves to v_t by the part beta_t. q and k come through the
/// feature map F, by default to unit length, |x| = sqrt(sum x^2 + 1e-6); Compose{Silu{},
/// UnitNorm{}} is the layer's map where no convolution has applied the activation. beta [B, H, N]
/// is used as it is: sigmoid_gate of a projection, or twice that for transitions with negative
/// eigenvalues (arXiv:2411.12537). Without unit keys the state may grow without bound.
template <class F = UnitNorm, class X>
auto delta_net(const X& beta, F feature = {}) {
  const Delta update{beta};
  return LinearAttention<F, NoDecay, decltype(Delta{beta})>{feature, {}, update, {}, 0.0};
}

/// Gated DeltaNet (Gated Delta Networks: Improving Mamba2 with Delta Rule, arXiv:2412.06464): the
/// state decays first,
///
///   S' = a_t S_{t-1},   S_t = S' + k_t beta_t (v_t - S'^T k_t)^T,   out_t = S_t^T q_t / sqrt(D)
///
/// with log a_t = log_decay [B, H, N], softplus_gate of a projection in the paper. There may be
/// more heads of values, gates and results than of queries and keys.
template <class F = UnitNorm, class X, class Y>
auto gated_delta_net(const X& log_decay, const Y& beta, F feature = {}) {
  const TokenDecay decay{log_decay};
  const Delta update{beta};
  return LinearAttention<F, decltype(TokenDecay{log_decay}), decltype(Delta{beta})>{
      feature, decay, update, {}, 0.0};
}

/// The same with a gate per channel of the keys, log_decay [B, H, N, D] (Kimi Linear,
/// arXiv:2510.26692).
template <class F = UnitNorm, class X, class Y>
auto channel_gated_delta_net(const X& log_decay, const Y& beta, F feature = {}) {
  const ChannelDecay decay{log_decay};
  const Delta update{beta};
  return LinearAttention<F, decltype(ChannelDecay{log_decay}), decltype(Delta{beta})>{
      feature, decay, update, {}, 0.0};
}

}  // namespace weft
