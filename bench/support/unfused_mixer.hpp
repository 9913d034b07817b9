#pragma once

#include <weft/attention/softmax.hpp>
#include <weft/core/gemm.hpp>

#include <vector>

/// A mixer as it is carried out without a fused kernel, one query head at a time and every step
/// over the whole N x M matrix before the next begins:
///
///   S = scale Q K^T (gemm),   score and mask,   weights of every row,   out = P V (gemm)
///
/// The steps are those of the engine, vectorised alike and with the same policies, so that what a
/// row unfused/... takes longer is what fusion saves: the traffic of S, and pairs that a mask
/// hides.
namespace bench {

template <class Mixer>
class UnfusedMixer;

template <class M, class S, class Z, class P>
class UnfusedMixer<weft::Softmax<M, S, Z, P>> {
 public:
  using Index = weft::Index;
  using Mixer = weft::Softmax<M, S, Z, P>;
  using Input = weft::View<const float, 4>;

  explicit UnfusedMixer(const Mixer& mixer) : mixer_(mixer) {}

  void operator()(const Input& q, const Input& k, const Input& v, const weft::View<float, 4>& out,
                  const weft::Context& context) {
    namespace detail = weft::detail;
    const Index queries = q.extent(2), keys = k.extent(2), group = q.extent(1) / k.extent(1);
    const Index stride = weft::round_up(keys, weft::kWidth<float>);
    memory_.resize(static_cast<std::size_t>(queries * stride));
    tops_.resize(static_cast<std::size_t>(queries));
    const weft::View<float, 2> logits(memory_.data(), {queries, keys}, {stride, 1});
    const Scaled scaled{static_cast<float>(detail::scale_of(mixer_, q.extent(3))) *
                        Policies::template query_factor<float>};
    for (Index b = 0; b < q.extent(0); ++b)
      for (Index h = 0; h < q.extent(1); ++h) {
        const auto at = [&](Index i) { return weft::Row{b, h, i, queries, keys}; };
        weft::gemm(q.select(0, b).select(0, h), k.select(0, b).select(0, h / group).transpose(0, 1),
                   logits, scaled, context);
        for (Index i = 0; i < queries; ++i)
          tops_[static_cast<std::size_t>(i)] = detail::finish_logits<float, A, kMasked>(
              policies(), at(i), 0, 0, keys, logits.pointer(i));
        for (Index i = 0; i < queries; ++i)
          weigh(at(i), tops_[static_cast<std::size_t>(i)], logits.pointer(i));
        weft::gemm(logits, v.select(0, b).select(0, h / group), out.select(0, b).select(0, h),
                   context);
      }
  }

 private:
  using A = weft::DefaultArch;
  using Policies = weft::detail::Policies<M, S, Z>;
  static constexpr bool kMasked = !std::is_same_v<M, weft::NoMask>;

  /// Epilogue of the first product.
  struct Scaled {
    float factor;
    template <class V>
    V operator()(V sum, Index, Index, Index) const noexcept {
      return sum * V(factor);
    }
  };

  /// Logits with the maximum `top` become weights that need no further factor.
  void weigh(const weft::Row& row, float top, float* s) {
    namespace detail = weft::detail;
    const Z& z = mixer_.normalizer;
    float m = top, l = 0;
    const detail::RowState<float> state{&m, &l, nullptr, statistic_.data()};
    if constexpr (weft::TwoPassNormalizer<Z>) {
      z.statistic().start(state.statistic);
      z.statistic().template add<A>(s, 0, row.keys, 0, top, state.statistic);
    }
    if constexpr (!weft::OnlineNormalizer<Z>) detail::begin_row(z, detail::Pass::weigh, state);
    if constexpr (weft::SelectingNormalizer<Z>) {
      keep(row, s, l);
    } else if constexpr (weft::OnlineNormalizer<Z>) {
      detail::take_weights<float, A>(s, 0, row.keys, s, state,
                                     detail::reweighing(policies(), row, 0));
    } else {
      const auto logit = [s](Index c) { return weft::load<A>(s + c); };
      detail::weigh_row<float, A>(policies(), z, row, logit, 0, 0, row.keys, s, state);
    }
    detail::scale_row<float, A>(s, weft::round_up(row.keys, weft::kWidth<float>),
                                z.factor(m, l, row));
  }

  /// All weights but those of the keys that the statistic has kept are zero.
  void keep(const weft::Row& row, float* s, float& sum) {
    const auto weigh = weft::detail::row_weights<float>(mixer_.normalizer, row, statistic_.data());
    const auto kept = mixer_.normalizer.kept(static_cast<const float*>(statistic_.data()));
    std::fill_n(s, row.keys, 0.f);
    for (Index i = 0; i < kept.count && kept.logits[i] > weft::detail::kHidden<float>; ++i) {
      const auto key = static_cast<Index>(kept.keys[i]);
      s[key] = weigh(weft::Vec<float>(kept.logits[i]), key).get(0);
      sum += s[key];
    }
  }

  static Index statistic_size(const Z& z) {
    if constexpr (weft::TwoPassNormalizer<Z>)
      return z.statistic().size();
    else
      return 0;
  }

  Policies policies() const { return {mixer_.mask, mixer_.score}; }

  Mixer mixer_;
  std::vector<float> statistic_ =
      std::vector<float>(static_cast<std::size_t>(statistic_size(mixer_.normalizer)));
  std::vector<float> memory_, tops_;
};
template <class M, class S, class Z, class P>
UnfusedMixer(const weft::Softmax<M, S, Z, P>&) -> UnfusedMixer<weft::Softmax<M, S, Z, P>>;

}  // namespace bench
