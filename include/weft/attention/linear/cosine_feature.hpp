#pragma once

#include <weft/attention/linear/feature.hpp>

#include <numbers>

namespace weft {

/// Features of cosFormer (cosFormer: Rethinking Softmax in Attention, arXiv:2202.08791): relu, and
/// a weight that falls with the distance of query i and key j,
///
///   phi(x_i) = [relu(x_i) sin t_i, relu(x_i) cos t_i],  t_i = (pi / 2) (i + 1) / horizon
///   phi(q_i) . phi(k_j) = (relu(q_i) . relu(k_j)) cos((pi / 2) (i - j) / horizon)
///
/// F = 2 D. `horizon` is a number of tokens fixed beforehand, the same for all calls of a stream;
/// the published code takes max(N, M). Throws for tokens beyond it, whose weights would turn
/// negative.
///
///   LinearAttention{CosineFeatures{N}, NoDecay{}, Additive{}, AtLeastEpsilon{1e-6}}
struct CosineFeatures {
  Index horizon = 0;  ///< >= 1

  Index size(Index dim) const noexcept { return 2 * dim; }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    const double step = std::numbers::pi / 2 / static_cast<double>(horizon);
    for (Index r = 0; r < x.rows; ++r) {
      const double t = step * static_cast<double>(x.position + r + 1);
      T* to = x.to + r * x.to_ld;
      detail::relu_row<A>(static_cast<T>(std::sin(t)), x.from + r * x.from_ld, x.dim, to);
      detail::relu_row<A>(static_cast<T>(std::cos(t)), x.from + r * x.from_ld, x.dim, to + x.dim);
    }
  }
  void check(Index, Index, Index) const {
    require(horizon >= 1, "CosineFeatures: horizon is ", horizon, ", at least one token is needed");
  }
  void check_positions(Index, Index to) const {
    require(to <= horizon, "CosineFeatures: ", to, " tokens, the horizon is ", horizon);
  }
};
static_assert(FeatureMap<CosineFeatures>);

}  // namespace weft
