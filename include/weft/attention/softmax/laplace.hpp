#pragma once

#include <weft/attention/softmax/normalizer.hpp>
#include <weft/core/math.hpp>

#include <cmath>

namespace weft {

/// Laplace attention function, a smooth stand-in for squared ReLU (Mega: Moving Average Equipped
/// Gated Attention, arXiv:2209.10655): the weight of a key is a function of its logit alone,
///
///   w_ij = (1 + erf((s_ij - mu) / (sigma sqrt(2)))) / 2
///   mu = sqrt(1 / 2), sigma = sqrt(1 / (4 pi))
///   out_i = sum_j w_ij v_j
///
/// the distribution function of a normal variable whose value and slope at sqrt(2) are close to
/// those of the square. All verbs but those with a log-sum-exp.
struct LaplaceWeights {
  template <class T>
  auto weights(const Row&) const noexcept {
    return [](const auto& s, Index) {
      using V = std::remove_cvref_t<decltype(s)>;
      constexpr double mu = 0.70710678118654752440;     // sqrt(1 / 2)
      constexpr double slope = 2.50662827463100050242;  // 1 / (sigma sqrt(2)) = sqrt(2 pi)
      const V x = (s - V(static_cast<T>(mu))) * V(static_cast<T>(slope));
      return V((V(T(1)) + math::erf(x)) * V(T(0.5)));
    };
  }
  template <class T>
  T factor(T, T, const Row&) const noexcept {
    return T(1);
  }
  bool is_streaming() const noexcept { return true; }
};
static_assert(ElementwiseNormalizer<LaplaceWeights>);

}  // namespace weft
