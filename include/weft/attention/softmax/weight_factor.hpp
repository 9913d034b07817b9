#pragma once

#include <weft/attention/softmax/score.hpp>

namespace weft {

/// Weights times a factor after the normalizer, without dividing again:
///
///   out_i = sum_j p_ij c_ij v_j,      p = softmax(s), lse that of s
///
/// c is what `Factor`, any score that multiplies, makes of a logit of one: RelativeFactor,
/// GridFactor, LogitFactor. It may be negative, and rows of p c need not sum to one; c = 1 changes
/// nothing. What stands in c for a hidden key has no influence.
///
/// URPE (Your Transformer May Not be as Powerful as You Expect, arXiv:2205.13401) has a bias B and
/// a factor C, both Toeplitz; position/urpe_buckets.hpp has the published tables of distances:
///   Softmax{mask, Chain{RelativeBias{B, zero}, WeightFactor{RelativeFactor{C, zero}}}}
/// RMT as its paper writes it (manhattan.hpp) multiplies by a decay of distance on a grid:
///   Softmax{NoMask{}, WeightFactor{GridFactor{manhattan_decay_table(...)}}}
///
/// With other normalizers than softmax p is their weight. All verbs; costs one load and four
/// operations per vector of logits. `check` throws what that of the factor throws.
template <class Factor>
struct WeightFactor {
  static_assert(Score<Factor>, "WeightFactor needs a score, one that multiplies");
  Factor factor;

  template <class V>
  V operator()(V s, const Row&, Index) const noexcept {
    return s;
  }
  template <class V>
  V reweigh(V w, const Row& r, Index j0) const noexcept {
    return factor(w, r, j0);
  }
  void check(Index batch, Index heads, Index queries, Index keys) const {
    detail::check_policy(factor, batch, heads, queries, keys);
  }
};
template <class Factor>
WeightFactor(Factor) -> WeightFactor<Factor>;

}  // namespace weft
