#pragma once

#include <weft/core/random.hpp>
#include <weft/quant/vector_quantizer.hpp>

#include <utility>

/// k-means by Lloyd's iteration: what codebooks are learned by.
///
///   repeat:  assign each point to the nearest centroid, the lowest number on ties
///            centroid <- mean of its points; without points it stays where it is
///   then a last assignment; inertia = sum of squared distances to it
///
/// The inertia does not rise from one iteration to the next. Means are taken in double. Time
/// O(iterations N K D) (vector_quantizer.hpp). Throws on shapes that do not fit, fewer than 0
/// iterations and numbers that are not finite.
namespace weft::quant {

template <class T>
struct KMeans {
  Tensor<T, 2> centroids;              ///< [K, D]
  Tensor<std::int32_t, 1> assignment;  ///< [N]
  double inertia = 0;
};

namespace detail {

/// Centroids become the means of their points.
template <class T>
void move_centroids(const View<const T, 2>& x, const View<const std::int32_t, 1>& assignment,
                    View<T, 2> centroids) {
  const Index K = centroids.extent(0), D = centroids.extent(1);
  Tensor<double, 2> sums({K, D});
  Tensor<double, 1> counts({K});
  for (Index n = 0; n < x.extent(0); ++n) {
    double* sum = &sums(assignment(n), 0);
    for (Index d = 0; d < D; ++d) sum[d] += static_cast<double>(x(n, d));
    counts(assignment(n)) += 1;
  }
  for (Index j = 0; j < K; ++j)
    for (Index d = 0; counts(j) > 0 && d < D; ++d)
      centroids(j, d) = static_cast<T>(sums(j, d) / counts(j));
}

}  // namespace detail

/// From the centroids `init` [K, D] on points x [N, D].
template <class A = DefaultArch, class T>
KMeans<T> k_means(View<const T, 2> x, View<const T, 2> init, int iterations,
                  const Context& ctx = Context{}) {
  require(iterations >= 0, "k_means: ", iterations, " iterations");
  require(x.extent(1) == init.extent(1), "k_means: points are ", x, ", centroids ", init);
  KMeans<T> out{Tensor<T, 2>(init.shape()), Tensor<std::int32_t, 1>({x.extent(0)})};
  for (Index j = 0; j < init.extent(0); ++j)
    for (Index d = 0; d < init.extent(1); ++d) out.centroids(j, d) = init(j, d);
  for (int i = 0; i < iterations; ++i) {
    VectorQuantizer<T, A>(out.centroids).encode(x, out.assignment.view(), ctx);
    detail::move_centroids<T>(x, out.assignment, out.centroids.view());
  }
  VectorQuantizer<T, A>(out.centroids).encode(x, out.assignment.view(), ctx);
  for (Index n = 0; n < x.extent(0); ++n)
    for (Index d = 0; d < x.extent(1); ++d) {
      const double away =
          static_cast<double>(x(n, d)) - static_cast<double>(out.centroids(out.assignment(n), d));
      out.inertia += away * away;
    }
  return out;
}

/// `count` different rows of x, chosen by the seed: where to begin. Throws if there are fewer, or
/// more than 2^32 to choose from.
template <class T>
Tensor<T, 2> sample_rows(View<const T, 2> x, Index count, std::uint64_t seed) {
  require(count >= 0 && count <= x.extent(0) && x.extent(0) <= (Index{1} << 32),
          "sample_rows: ", count, " rows of ", x);
  std::vector<Index> order(static_cast<std::size_t>(x.extent(0)));
  for (std::size_t n = 0; n < order.size(); ++n) order[n] = static_cast<Index>(n);
  Philox random(seed, 0);
  Tensor<T, 2> out({count, x.extent(1)});
  for (Index j = 0; j < count; ++j) {
    const auto left = static_cast<std::uint64_t>(x.extent(0) - j);
    const Index other = j + static_cast<Index>(random() * left >> 32);
    std::swap(order[static_cast<std::size_t>(j)], order[static_cast<std::size_t>(other)]);
    for (Index d = 0; d < x.extent(1); ++d) out(j, d) = x(order[static_cast<std::size_t>(j)], d);
  }
  return out;
}

}  // namespace weft::quant
