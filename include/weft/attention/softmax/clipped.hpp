#pragma once

#include <weft/attention/softmax/statistic.hpp>

#include <cmath>

namespace weft {

/// Clipped softmax (Quantizable Transformers: Removing Outliers by Helping Attention Heads Do
/// Nothing, arXiv:2306.12929):
///
///   p_ij  = softmax of s_i over the visible keys
///   w_ij  = min(1, max(0, (eta - gamma) p_ij + gamma))
///   out_i = sum_j w_ij v_j
///
/// Nothing is renormalised: a row may sum to anything, and to exactly 0 where every p is at most
/// -gamma / (eta - gamma). eta = 1, gamma = 0 is softmax. Two passes, so all verbs but those with a
/// log-sum-exp. Hidden keys weigh nothing; the published code agrees for gamma <= 0, and for a
/// positive gamma, which would lift them, weft::error is thrown, as it is for parameters that are
/// not finite or eta <= gamma.
struct ClippedSoftmax {
  double gamma = -0.1;
  double eta = 1.1;

  /// The form that depends on the configured maximum length: gamma = -alpha / length, eta = 1.
  static ClippedSoftmax for_length(double alpha, Index length) {
    require(length >= 1, "ClippedSoftmax: the maximum length must be positive, got ", length);
    return {-alpha / static_cast<double>(length), 1};
  }

  auto statistic() const noexcept { return detail::SumOfPowers{}; }
  template <class T>
  T base(const T* sum) const noexcept {
    return sum[0];
  }
  template <class T>
  auto weights(const T* sum, const Row&) const noexcept {
    const T stretch = sum[1] == T(0) ? T(0) : static_cast<T>(eta - gamma) / sum[1];
    return [stretch, base = sum[0], low = static_cast<T>(gamma)](const auto& s, Index) {
      using V = std::remove_cvref_t<decltype(s)>;
      const V w = mul_add(V(stretch), math::exp2_nonpositive(s - V(base)), V(low));
      return xsimd::max(V(T(0)), xsimd::min(V(T(1)), w));  // in this order a NaN stays
    };
  }
  template <class T>
  T factor(T, T, const Row&) const noexcept {
    return T(1);
  }
  void check(Index, Index, Index, Index) const {
    require(std::isfinite(eta) && std::isfinite(gamma) && gamma <= 0 && gamma < eta,
            "ClippedSoftmax: gamma must be at most 0 and less than eta, both finite, got gamma ",
            gamma, " and eta ", eta);
  }
};
static_assert(TwoPassNormalizer<ClippedSoftmax> && ExponentialNormalizer<ClippedSoftmax>);

}  // namespace weft
