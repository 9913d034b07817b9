#pragma once

#include <weft/attention/linear/mixer.hpp>

namespace weft {

/// Gated linear attention (Gated Linear Attention Transformers with Hardware-Efficient Training,
/// arXiv:2312.06635):
///
///   S_t = diag(a_t) S_{t-1} + k_t v_t^T,   out_t = S_t^T q_t / sqrt(D)
///
/// with log a_t = log_gate [B, H, N, D] per channel of the keys, log_sigmoid_gate of a projection
/// in the paper's layer, which also normalizes the heads of the result by RmsNorm.
template <class X>
auto gated_linear(const X& log_gate) {
  const ChannelDecay decay{log_gate};
  return LinearAttention<Identity, decltype(ChannelDecay{log_gate})>{{}, decay, {}, {}, 0.0};
}

/// The same with one gate per token and head, log_decay [B, H, N]: the recurrence of Mamba-2
/// (arXiv:2405.21060), whose values come times dt.
template <class X>
auto simple_gated_linear(const X& log_decay) {
  const TokenDecay decay{log_decay};
  return LinearAttention<Identity, decltype(TokenDecay{log_decay})>{{}, decay, {}, {}, 0.0};
}

}  // namespace weft
