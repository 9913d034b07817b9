#pragma once

#include <weft/attention/linear/rotary_feature.hpp>

#include <cmath>

namespace weft {

/// log gamma of the heads of RetNet, gamma_h = 1 - 2^(-5 - h): fixed, not learned. Exact for any
/// number of heads, also where gamma itself rounds to 1.
template <class T = float>
Tensor<T, 1> retention_log_decay(Index heads) {
  require(heads >= 1, "retention_log_decay: ", heads, " heads");
  Tensor<T, 1> out({heads});
  for (Index h = 0; h < heads; ++h)
    out(h) = static_cast<T>(std::log1p(-std::exp2(-5.0 - static_cast<double>(h))));
  return out;
}

/// The frequencies by which RetNet turns pairs of neighbouring channels, f_j = base^(-j / (D/2 -
/// 1)), for a RopeTable of RopeLayout::interleaved: unlike RoPE's the last is 1 / base (D = 2: 1).
/// That is the xPos of the paper as it was released: without its scaling of lengths, whose part the
/// decay plays.
inline RopeFrequencies retention_frequencies(Index dim, double base = 10000) {
  require(dim >= 2 && dim % 2 == 0, "retention_frequencies: the head size ", dim,
          " must be even and positive");
  require(base > 0 && std::isfinite(base), "retention_frequencies: base is ", base);
  RopeFrequencies out;
  for (Index j = 0; j < dim / 2; ++j) {
    const double last = static_cast<double>(dim / 2 - 1);
    out.radians.push_back(std::pow(base, dim == 2 ? 0 : -static_cast<double>(j) / last));
  }
  return out;
}

/// Retention (Retentive Network: A Successor to Transformer for Large Language Models,
/// arXiv:2307.08621):
///
///   S_t = gamma_h S_{t-1} + k_t v_t^T,   out_t = S_t^T q_t / sqrt(D)
///
/// log_gamma [H] as from retention_log_decay. q and k are turned before the call, or on the way by
/// a table of their positions; both must outlive the mixer:
///
///   RopeTable table(retention_frequencies(D), RopeLayout::interleaved, positions);
///   forward(retention(log_gamma, Rotary{table}), q, k, v, out);
///
/// The layer then normalizes each head, with the released code by RmsNorm without weight (the paper
/// says group norm), which also makes its scalings of the scores for 16-bit arithmetic immaterial:
/// they are left out here.
template <class X, FeatureMap F = Identity>
auto retention(const X& log_gamma, F feature = {}) {
  const HeadDecay decay{log_gamma};
  return LinearAttention<F, decltype(HeadDecay{log_gamma})>{feature, decay, {}, {}, 0.0};
}

}  // namespace weft
