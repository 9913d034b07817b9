#pragma once

#include <weft/attention/softmax/score.hpp>

namespace weft {

/// Logits times a factor, s <- f[b, h, i, j] s, before any bias: the element-wise learnable mask of
/// RetNet Viewed through Convolution (arXiv:2309.05375), where f is free, [1, 1, N, N]. Axes of
/// extent 1 are broadcast.
///
/// A factor of zero makes the logit zero and hides nothing: all zeros give the mean of the values,
/// all ones plain attention. `check` throws where an axis is neither 1 nor the size it stands for.
/// Costs one load and one multiplication per logit.
template <class T = float>
struct LogitFactor {
  View<const T, 4> factor;

  explicit LogitFactor(View<const T, 4> f) noexcept : factor(f) {}

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return s * detail::load_broadcast<V>(factor, r, j0);
  }
  ReadRange reads(const Row& r, Index begin, Index end) const noexcept {
    return detail::range_of(factor, r, begin, end);
  }
  void check(Index batch, Index heads, Index queries, Index keys) const {
    (void)factor.broadcast({batch, heads, queries, keys});
  }
};
static_assert(Score<LogitFactor<float>>);

}  // namespace weft
