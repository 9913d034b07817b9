#pragma once

#include <weft/attention/softmax/normalizer.hpp>

namespace weft {

/// Gated attention (Quantizable Transformers: Removing Outliers by Helping Attention Heads Do
/// Nothing, arXiv:2306.12929): every output row is multiplied by its gate,
///
///   out_i = g[b, h, i] * (what the normalizer Z gives)
///
/// `gates` is [B, Hq, N], axes of extent 1 are broadcast; gate.hpp computes the published ones. The
/// factor joins the one that Z applies at the end, after partial results are merged, so that a gate
/// costs nothing; a log-sum-exp leaves it out. All verbs that Z has: prefill and step get the gates
/// of the tokens they are given. Throws weft::error when the shape does not fit.
///
///   Softmax{mask, score, GatedOutput{PlainSoftmax{}, gates}}
template <Normalizer Z, class G = float>
struct GatedOutput : Z {
  View<const G, 3> gates;

  GatedOutput(const Z& normalizer, View<const G, 3> per_row) noexcept
      : Z(normalizer), gates(per_row) {}

  template <class T>
  T factor(T m, T l, const Row& row) const noexcept {
    const auto at = [&](std::size_t axis, Index i) { return gates.extent(axis) == 1 ? 0 : i; };
    const G gate = gates(at(0, row.batch), at(1, row.head), at(2, row.query));
    return Z::factor(m, l, row) * static_cast<T>(gate);
  }
  void check(Index batch, Index heads, Index queries, Index keys) const {
    detail::check_policy(static_cast<const Z&>(*this), batch, heads, queries, keys);
    (void)gates.broadcast({batch, heads, queries});
  }
};
static_assert(OnlineNormalizer<GatedOutput<PlainSoftmax>>);

}  // namespace weft
