#pragma once

#include <weft/attention/softmax/score.hpp>
#include <weft/core/tensor.hpp>

#include <cmath>
#include <cstdlib>

namespace weft {

/// A mixture of what q . k says and what the distance says:
///
///   s <- rope_weight s + distance_weight bias[h, (j - (i + M - N)) + zero]
///
/// With q and k turned by RoPE this is the "factored combination of RoPE and ALiBi" named by The
/// Nature of Mathematical Modeling and Probabilistic Optimization Engineering in Generative AI
/// (arXiv:2410.18441). Its formula was not to be had: the weights, and the harmonic table below,
/// are our definition. The table is any RelativeBias, which see for its shape and what it throws.
template <class T = float>
struct RopeAlibi {
  double rope_weight;
  double distance_weight;
  RelativeBias<T> distance;

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    using Lane = typename V::value_type;
    const V bias = distance(V(Lane(0)), r, j0);
    return mul_add(V(static_cast<Lane>(rope_weight)), s,
                   V(static_cast<Lane>(distance_weight)) * bias);
  }
  void check(Index batch, Index heads, Index queries, Index keys) const {
    require(std::isfinite(rope_weight) && std::isfinite(distance_weight), "RopeAlibi: weights are ",
            rope_weight, " and ", distance_weight, "; both must be finite");
    distance.check(batch, heads, queries, keys);
  }
};
template <class T>
RopeAlibi(double, double, RelativeBias<T>) -> RopeAlibi<T>;
static_assert(Score<RopeAlibi<float>>);

/// ALiBi with the harmonic series in place of the distance (our definition):
///   bias[h, d + M - 1] = -slopes[h] (1 + 1/2 + ... + 1/|d|)         d = -(M - 1) .. N - 1
/// for RelativeBias{bias, M - 1}, [H, N + M - 1]. It grows like ln |d|, so that far keys are damped
/// by a power of their distance. Throws when N or M is not positive.
template <class T>
Tensor<T, 2> harmonic_bias(std::type_identity_t<View<const T, 1>> slopes, Index queries,
                           Index keys) {
  require(queries >= 1 && keys >= 1, "harmonic_bias: ", queries, " queries and ", keys,
          " keys; both must be positive");
  std::vector<double> series{0.0};
  for (Index d = 1; d < std::max(queries, keys); ++d)
    series.push_back(series.back() + 1 / static_cast<double>(d));
  Tensor<T, 2> bias({slopes.extent(0), queries + keys - 1});
  for (Index h = 0; h < slopes.extent(0); ++h)
    for (Index d = 1 - keys; d < queries; ++d)
      bias(h, d + keys - 1) = static_cast<T>(-static_cast<double>(slopes(h)) *
                                             series[static_cast<std::size_t>(std::abs(d))]);
  return bias;
}

}  // namespace weft
