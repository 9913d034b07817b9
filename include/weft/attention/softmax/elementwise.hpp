#pragma once

#include <weft/attention/softmax/normalizer.hpp>
#include <weft/core/math.hpp>

#include <cmath>

/// Attention without softmax: the weight of a key is a function of its logit alone.
///
///   ReluWeights<p>   w_ij = relu(s_ij / n)^p      ReLU (Replacing softmax with ReLU in Vision
///                                                 Transformers, arXiv:2309.08586) for p = 1,
///                                                 squared ReLU of the gated attention unit
///                                                 (Transformer Quality in Linear Time,
///                                                 arXiv:2202.10447) for p = 2
///   IdentityWeights  w_ij = s_ij / n              linear self-attention (Transformers Learn
///                                                 In-Context by Gradient Descent,
///                                                 arXiv:2212.07677)
///   SigmoidWeights   w_ij = sigma(s_ij + b) / n   (Theory, Analysis, and Best Practices
///                                                 for Sigmoid Self-Attention, arXiv:2409.04431)
///   out_i = sum_j w_ij v_j
///
/// over the visible keys; hidden ones weigh nothing. Nothing makes the weights of a row sum to one.
/// All verbs but those with a log-sum-exp, one pass, less work per logit than softmax. Parameters
/// that are not finite throw weft::error; so does a stream with Count::keys, whose n changes from
/// token to token.
namespace weft {

/// What n is: 1, the number M of keys of the row hidden or not, or how many it sees.
enum class Count { one, keys, visible };

namespace detail {

template <class T>
T count_of(Count count, T visible, const Row& row) noexcept {
  if (count == Count::one) return T(1);
  return count == Count::keys ? static_cast<T>(row.keys) : visible;
}

/// base^P by squaring.
template <int P, class X>
[[gnu::always_inline]] inline X raised(const X& base) noexcept {
  if constexpr (P == 1)
    return base;
  else if constexpr (P % 2 == 0)
    return raised<P / 2>(X(base * base));
  else
    return raised<P - 1>(base) * base;
}

}  // namespace detail

/// w = relu(s / n)^p.
template <int P = 1>
struct ReluWeights {
  static_assert(P >= 1, "ReluWeights: the power must be positive");
  Count n = Count::visible;

  template <class T>
  auto weights(const Row&) const noexcept {
    return [](const auto& s, Index) { return detail::raised<P>(math::relu(s)); };
  }
  template <class T>
  T factor(T visible, T, const Row& row) const noexcept {
    const T count = detail::count_of(n, visible, row);
    return count == T(0) ? T(0) : T(1) / detail::raised<P>(count);
  }
  bool is_streaming() const noexcept { return n != Count::keys; }
};
static_assert(ElementwiseNormalizer<ReluWeights<>>);

/// w = s / n: attention without a nonlinearity, bilinear in q and k. With every key visible it
/// equals q (k^T v), which costs less from about D = M on.
struct IdentityWeights {
  Count n = Count::one;

  template <class T>
  auto weights(const Row&) const noexcept {
    return [](const auto& s, Index) { return s; };
  }
  template <class T>
  T factor(T visible, T, const Row& row) const noexcept {
    const T count = detail::count_of(n, visible, row);
    return count == T(0) ? T(0) : T(1) / count;
  }
  bool is_streaming() const noexcept { return n != Count::keys; }
};
static_assert(ElementwiseNormalizer<IdentityWeights>);

/// w = sigma(s + bias - ln M) / n. The paper takes n = 1 and the bias -ln M, where M is the length
/// of the sequences it trains on: give that as `bias` to keep it when the length varies.
struct SigmoidWeights {
  double bias = 0;
  Count n = Count::one;
  bool minus_log_keys = false;  ///< whether ln M of the row is subtracted from the bias

  template <class T>
  auto weights(const Row& row) const noexcept {
    const double shift = minus_log_keys ? std::log(static_cast<double>(row.keys)) : 0;
    constexpr double log2e = 1.4426950408889634074;
    return [b = static_cast<T>((bias - shift) * log2e)](const auto& s, Index) {
      using V = std::remove_cvref_t<decltype(s)>;
      return math::sigmoid2(mul_add(s, V(T(log2e)), V(b)));
    };
  }
  template <class T>
  T factor(T visible, T, const Row& row) const noexcept {
    const T count = detail::count_of(n, visible, row);
    return count == T(0) ? T(0) : T(1) / count;
  }
  bool is_streaming() const noexcept { return n != Count::keys && !minus_log_keys; }
  void check(Index, Index, Index, Index) const {
    require(std::isfinite(bias), "SigmoidWeights: bias must be finite, got ", bias);
  }
};
static_assert(ElementwiseNormalizer<SigmoidWeights>);

}  // namespace weft
