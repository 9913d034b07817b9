#pragma once

#include <weft/attention/linear/mixer.hpp>

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

/// RetNet's rotation of queries and keys at position t, a feature map:
///
///   y_2j = x_2j cos(t f_j) - x_2j+1 sin(t f_j),   y_2j+1 = x_2j+1 cos(t f_j) + x_2j sin(t f_j)
///   f_j = base^(-j / (D / 2 - 1)), j < D / 2      (the last frequency is 1 / base; D = 2: 1)
///
/// That is the xPos of the paper as it was released: without its length scaling, whose part the
/// decay plays. D must be even. Angles in double, one sine and cosine per pair and token.
struct RetentionRotation {
  double base = 10000;

  Index size(Index dim) const noexcept { return dim; }
  void check(Index, Index, Index dim) const {
    require(dim % 2 == 0, "RetentionRotation: the head size ", dim, " is odd");
    require(base > 0 && std::isfinite(base), "RetentionRotation: base is ", base);
  }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    const Index pairs = x.dim / 2;
    for (Index j = 0; j < pairs; ++j) {
      const double part = pairs == 1 ? 0 : static_cast<double>(j) / static_cast<double>(pairs - 1);
      const double frequency = std::pow(base, -part);
      for (Index r = 0; r < x.rows; ++r) {
        const double angle = frequency * static_cast<double>(x.position + r);
        const T c = static_cast<T>(std::cos(angle)), s = static_cast<T>(std::sin(angle));
        const T* from = x.from + r * x.from_ld + 2 * j;
        T* to = x.to + r * x.to_ld + 2 * j;
        const T even = from[0], odd = from[1];
        to[0] = even * c - odd * s;
        to[1] = odd * c + even * s;
      }
    }
  }
};

/// Retention (Retentive Network: A Successor to Transformer for Large Language Models,
/// arXiv:2307.08621):
///
///   S_t = gamma_h S_{t-1} + k_t v_t^T,   out_t = S_t^T q_t / sqrt(D)
///
/// log_gamma [H] as from retention_log_decay; it must outlive the mixer. q and k are rotated by
/// `F` = RetentionRotation, or before the call (Identity). The layer then normalizes each head,
/// with the released code by RmsNorm without weight (the paper says group norm), which also makes
/// its scalings of the scores for 16-bit arithmetic immaterial: they are left out here.
template <class F = RetentionRotation, class X>
auto retention(const X& log_gamma) {
  const HeadDecay decay{log_gamma};
  return LinearAttention<F, decltype(HeadDecay{log_gamma})>{{}, decay, {}, {}, 0.0};
}

}  // namespace weft
