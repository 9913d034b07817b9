#pragma once

#include <weft/attention/softmax/mask.hpp>

#include <cmath>
#include <concepts>

/// Normalizers: how logits become the weights of the values. There are three kinds, told apart by
/// their members; all of them give the factor that turns the weighted sum of values into the
/// output:
///
///   template <class T> T factor(T m, T l, const Row& row) const noexcept;    finite when l = 0
///
/// Online: nothing else. The engine carries, with logits in units of log 2,
///   m = max_j s_j,   l = sum_j 2^(s_j - m),   acc = sum_j 2^(s_j - m) v_j
/// over the visible keys; a row that sees no key has l = 0. Only these give a log-sum-exp that
/// merges.
///
/// Element-wise: the weight of a key needs nothing of its row. One pass, less work than softmax.
///   template <class T> auto weights(const Row& row) const noexcept;
/// gives a function V(V s, Index j0) of the logits of keys j0, j0 + 1, ... in natural units, and
/// the engine carries
///   m = number of visible keys,   l = sum_j w_j,   acc = sum_j w_j v_j
/// An optional `template <class V> V mass(V w)` says what l sums instead of w.
///
/// Two passes: the weights need a statistic of the whole row first, see statistic.hpp. The logits
/// are computed twice, which makes a call of many queries half as long again to twice as long.
///   auto statistic() const noexcept;
///   template <class T> auto weights(const T* statistic, const Row& row) const noexcept;
/// m, l and acc are as above. One that works with exponentials has, besides, a member
///   template <class T> T base(const T* statistic) const noexcept;
/// and then the logits are in units of log 2 and m is that base. One whose statistic knows the few
/// keys that weigh anything spares the engine the second pass by saying so:
///   template <class T> KeptKeys<T> kept(const T* statistic) const noexcept;
///
/// Data of the caller and parameters are checked once by an optional
///   void check(Index batch, Index heads, Index queries, Index keys) const;
/// One whose weights depend on how many keys there are has `bool is_streaming() const noexcept` and
/// says no where prefill and step could not give what forward gives.
namespace weft {

template <class Z>
concept Normalizer = requires(const Z& z, float m, const Row& r) {
  { z.factor(m, m, r) } noexcept -> std::same_as<float>;
};

template <class Z>
concept ElementwiseNormalizer =
    Normalizer<Z> && requires(const Z& z, const Row& r) { z.template weights<float>(r); };

template <class Z>
concept TwoPassNormalizer =
    Normalizer<Z> && requires(const Z& z, const float* statistic, const Row& r) {
      z.statistic();
      z.weights(statistic, r);
    };

/// The keys of a row that may weigh anything, numbered by T, and their logits; the list ends early
/// at a hidden logit.
template <class T>
struct KeptKeys {
  const T* logits;
  const T* keys;
  Index count;
};

template <class Z>
concept SelectingNormalizer = TwoPassNormalizer<Z> && requires(const Z& z, const float* statistic) {
  { z.kept(statistic) } noexcept -> std::same_as<KeptKeys<float>>;
};

template <class Z>
concept OnlineNormalizer = Normalizer<Z> && !ElementwiseNormalizer<Z> && !TwoPassNormalizer<Z>;

/// Whether logits are wanted in units of log 2.
template <class Z>
concept ExponentialNormalizer =
    OnlineNormalizer<Z> ||
    (TwoPassNormalizer<Z> && requires(const Z& z, const float* statistic) { z.base(statistic); });

/// Whether forward_with_lse makes sense: m + log2 l is the logarithm of what weights are divided
/// by.
template <class Z>
concept LseNormalizer = OnlineNormalizer<Z> || requires { requires Z::gives_lse; };

/// out = acc / l: the weights of the visible keys sum to one.
struct PlainSoftmax {
  template <class T>
  T factor(T, T l, const Row&) const noexcept {
    return l == T(0) ? T(0) : T(1) / l;
  }
};
static_assert(OnlineNormalizer<PlainSoftmax>);

/// A learned logit z[h] joins the denominator with value zero (attention sinks of GPT-OSS); z = 0
/// is softmax-off-by-one, exp(s_j) / (1 + sum exp(s)). The log-sum-exp that the verbs give out
/// leaves the sink out, so that partial results merge; apply the sink once, at the end.
template <class Z = float>
struct SinkSoftmax {
  View<const Z, 1> logits;  ///< [Hq], natural units

  explicit SinkSoftmax(View<const Z, 1> per_head) noexcept : logits(per_head) {}

  template <class T>
  T factor(T m, T l, const Row& row) const noexcept {
    if (l == T(0)) return T(0);
    constexpr T log2e = T(1.4426950408889634074);
    const T sink = static_cast<T>(logits(row.head)) * log2e;
    const T top = m < sink ? sink : m;
    const T own = std::exp2(m - top);
    return own / (l * own + std::exp2(sink - top));
  }
  void check(Index, Index heads, Index, Index) const {
    require(logits.extent(0) == heads, "SinkSoftmax: ", logits.extent(0), " logits for ", heads,
            " query heads; give one per head");
  }
};
static_assert(OnlineNormalizer<SinkSoftmax<float>>);

/// exp(s_j) / (1 + sum exp(s)): every head may attend to nothing.
struct OffByOneSoftmax {
  template <class T>
  T factor(T m, T l, const Row&) const noexcept {
    if (l == T(0)) return T(0);
    const T top = m < T(0) ? T(0) : m;
    const T own = std::exp2(m - top);
    return own / (l * own + std::exp2(-top));
  }
};
static_assert(OnlineNormalizer<OffByOneSoftmax>);

}  // namespace weft
