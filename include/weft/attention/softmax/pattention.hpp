#pragma once

#include <weft/attention/softmax/statistic.hpp>
#include <weft/core/math.hpp>

#include <cmath>

/// Attention to parameters, Pattention (TokenFormer: Rethinking Transformer Scaling with Tokenized
/// Model Parameters, arXiv:2410.23168): x [.., C] meets S learned tokens K [S, C], V [S, O].
///
///   a = x K^T                                                      (scale = 1)
///   NormalizedGelu   w = gelu(tau a / |a|)         "l2_norm_gelu", that of all released models
///   GeluNormalized   w = tau gelu(a) / |gelu(a)|   "gelu_l2_norm"
///   ScaledSoftmax    w = S softmax(a)              "softmax"
///   y = w V
///
/// |.| is the Euclidean norm over the S tokens, gelu is exact (erf). tau = 0 means sqrt(S). To grow
/// a model by zero tokens without a change of its output, keep the tau (or S) it had. A norm of 0
/// gives w = 0, where the published code gives NaN.
///
/// A mask hides tokens, their weight is 0. That is what the published code does by multiplying a
/// by 0, but with softmax, where such a token still counts exp(0): make that product a score then.
///
///   forward(Softmax{NoMask{}, NoScore{}, NormalizedGelu{}, 1.0}, x, K, V, y);
///
/// with x [B, 1, N, C] and K, V as [B, 1, S, .], broadcast over B with stride 0; or as an operator
/// on packed or quantized tokens, parameter_tokens.hpp, which is the faster way. NormalizedGelu
/// takes two passes. Only ScaledSoftmax has a log-sum-exp. Factors that are negative or not finite
/// throw weft::error, and so does a stream of tokens with factors that depend on S.
namespace weft {

namespace detail {

inline void check_pattention(const char* name, double factor) {
  require(factor >= 0 && std::isfinite(factor), name, " must be finite and not negative, got ",
          factor, "; 0 takes it from the number of keys");
}

template <class T>
T tau_or_default(double tau, const Row& row) noexcept {
  return tau != 0 ? static_cast<T>(tau) : std::sqrt(static_cast<T>(row.keys));
}

}  // namespace detail

/// w = gelu(tau a / |a|).
struct NormalizedGelu {
  double tau = 0;  ///< 0: sqrt(S)

  auto statistic() const noexcept { return detail::SumOfSquares{}; }
  template <class T>
  auto weights(const T* squares, const Row& row) const noexcept {
    const T tau_ = detail::tau_or_default<T>(tau, row);
    return [f = *squares == T(0) ? T(0) : tau_ / std::sqrt(*squares)](const auto& a, Index) {
      using V = std::remove_cvref_t<decltype(a)>;
      return math::gelu_erf(V(a * V(f)));
    };
  }
  template <class T>
  T factor(T, T, const Row&) const noexcept {
    return T(1);
  }
  bool is_streaming() const noexcept { return tau != 0; }
  void check(Index, Index, Index, Index) const {
    detail::check_pattention("NormalizedGelu: tau", tau);
  }
};
static_assert(TwoPassNormalizer<NormalizedGelu>);

/// w = tau gelu(a) / |gelu(a)|: one pass, the norm divides at the end.
struct GeluNormalized {
  double tau = 0;  ///< 0: sqrt(S)

  template <class T>
  auto weights(const Row&) const noexcept {
    return [](const auto& a, Index) { return math::gelu_erf(a); };
  }
  template <class V>
  V mass(V w) const noexcept {
    return w * w;
  }
  template <class T>
  T factor(T, T squares, const Row& row) const noexcept {
    return squares == T(0) ? T(0) : detail::tau_or_default<T>(tau, row) / std::sqrt(squares);
  }
  bool is_streaming() const noexcept { return tau != 0; }
  void check(Index, Index, Index, Index) const {
    detail::check_pattention("GeluNormalized: tau", tau);
  }
};
static_assert(ElementwiseNormalizer<GeluNormalized>);

/// w = total softmax(a).
struct ScaledSoftmax {
  double total = 0;  ///< 0: S

  template <class T>
  T factor(T, T l, const Row& row) const noexcept {
    if (l == T(0)) return T(0);
    return (total != 0 ? static_cast<T>(total) : static_cast<T>(row.keys)) / l;
  }
  bool is_streaming() const noexcept { return total != 0; }
  void check(Index, Index, Index, Index) const {
    detail::check_pattention("ScaledSoftmax: total", total);
  }
};
static_assert(OnlineNormalizer<ScaledSoftmax>);

}  // namespace weft
