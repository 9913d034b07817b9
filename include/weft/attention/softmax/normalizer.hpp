#pragma once

#include <weft/attention/softmax/mask.hpp>

#include <cmath>
#include <concepts>

/// Normalizers: how the sum of weighted values becomes the output.
///
/// The engine carries per row, with logits in units of log 2,
///   m = max_j s_j,   l = sum_j 2^(s_j - m),   acc = sum_j 2^(s_j - m) v_j
/// over the visible keys; a row that sees no key has l = 0. A normalizer gives the factor that
/// turns acc into the output:
///
///   template <class T> T factor(T m, T l, Index head) const noexcept;   0 when l = 0
namespace weft {

template <class Z>
concept Normalizer = requires(const Z& z, float m, Index h) {
  { z.factor(m, m, h) } noexcept -> std::same_as<float>;
};

/// out = acc / l: the weights of the visible keys sum to one.
struct PlainSoftmax {
  template <class T>
  T factor(T, T l, Index) const noexcept {
    return l == T(0) ? T(0) : T(1) / l;
  }
};
static_assert(Normalizer<PlainSoftmax>);

/// A learned logit z[h] joins the denominator with value zero (attention sinks of GPT-OSS); z = 0
/// is softmax-off-by-one, exp(s_j) / (1 + sum exp(s)). The log-sum-exp that the verbs give out
/// leaves the sink out, so that partial results merge; apply the sink once, at the end.
template <class Z = float>
struct SinkSoftmax {
  View<const Z, 1> logits;  ///< [Hq], natural units

  explicit SinkSoftmax(View<const Z, 1> per_head) noexcept : logits(per_head) {}

  template <class T>
  T factor(T m, T l, Index head) const noexcept {
    if (l == T(0)) return T(0);
    constexpr T log2e = T(1.4426950408889634074);
    const T sink = static_cast<T>(logits(head)) * log2e;
    const T top = m < sink ? sink : m;
    const T own = std::exp2(m - top);
    return own / (l * own + std::exp2(sink - top));
  }
  void check(Index, Index heads, Index, Index) const {
    require(logits.extent(0) == heads, "SinkSoftmax: ", logits.extent(0), " logits for ", heads,
            " query heads; give one per head");
  }
};
static_assert(Normalizer<SinkSoftmax<float>>);

/// exp(s_j) / (1 + sum exp(s)): every head may attend to nothing.
struct OffByOneSoftmax {
  template <class T>
  T factor(T m, T l, Index) const noexcept {
    if (l == T(0)) return T(0);
    const T top = m < T(0) ? T(0) : m;
    const T own = std::exp2(m - top);
    return own / (l * own + std::exp2(-top));
  }
};
static_assert(Normalizer<OffByOneSoftmax>);

}  // namespace weft
