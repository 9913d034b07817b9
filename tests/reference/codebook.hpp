#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Codebooks by plain search over all codes in double precision. Shares no code with the library.
///
/// Truth of quant/vector_quantization, quant/product_quantization, quant/codebook_features,
/// quant/multiscale_rvq.
namespace reference {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;

inline double squared_distance(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t d = 0; d < a.size(); ++d) sum += (a[d] - b[d]) * (a[d] - b[d]);
  return sum;
}

/// The nearest code [D] of a codebook [K][D], the first of equal ones.
inline std::size_t nearest(const Vector& x, const Matrix& codes) {
  std::size_t best = 0;
  for (std::size_t j = 1; j < codes.size(); ++j)
    if (squared_distance(x, codes[j]) < squared_distance(x, codes[best])) best = j;
  return best;
}

/// <u, c> / |c|, or -|u - c|^2.
inline double similarity(const Vector& u, const Vector& c, bool inner) {
  if (!inner) return -squared_distance(u, c);
  double product = 0, length = 0;
  for (std::size_t d = 0; d < u.size(); ++d) {
    product += u[d] * c[d];
    length += c[d] * c[d];
  }
  return length == 0 ? -INFINITY : product / std::sqrt(length);
}

/// The k most similar codes, falling.
inline std::vector<std::size_t> most_similar(const Vector& u, const Matrix& codes, std::size_t k,
                                             bool inner) {
  std::vector<std::size_t> order(codes.size());
  for (std::size_t j = 0; j < order.size(); ++j) order[j] = j;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return similarity(u, codes[a], inner) > similarity(u, codes[b], inner);
  });
  order.resize(k);
  return order;
}

/// Lloyd's iteration; returns the centroids.
inline Matrix k_means(const Matrix& x, Matrix centroids, int iterations) {
  for (int i = 0; i < iterations; ++i) {
    Matrix sums(centroids.size(), Vector(centroids[0].size(), 0.0));
    std::vector<double> counts(centroids.size(), 0.0);
    for (const Vector& point : x) {
      const std::size_t j = nearest(point, centroids);
      counts[j] += 1;
      for (std::size_t d = 0; d < point.size(); ++d) sums[j][d] += point[d];
    }
    for (std::size_t j = 0; j < centroids.size(); ++j)
      for (std::size_t d = 0; counts[j] > 0 && d < sums[j].size(); ++d)
        centroids[j][d] = sums[j][d] / counts[j];
  }
  return centroids;
}

/// Squared distances of all points to their nearest centroids.
inline double inertia(const Matrix& x, const Matrix& centroids) {
  double sum = 0;
  for (const Vector& point : x)
    sum += squared_distance(point, centroids[nearest(point, centroids)]);
  return sum;
}

/// One scale of multi-scale residual quantization of r [N][D]: returns the ids of n tokens and
/// takes their interpolation off r.
inline std::vector<std::size_t> residual_scale(Matrix& r, const Matrix& codes, std::size_t n) {
  const std::size_t N = r.size(), D = r[0].size();
  std::vector<std::size_t> ids;
  for (std::size_t i = 0; i < n; ++i) {
    const double begin = std::floor(static_cast<double>(i * N) / static_cast<double>(n));
    const double end = std::ceil(static_cast<double>((i + 1) * N) / static_cast<double>(n));
    Vector mean(D, 0.0);
    for (auto t = static_cast<std::size_t>(begin); t < static_cast<std::size_t>(end); ++t)
      for (std::size_t d = 0; d < D; ++d) mean[d] += r[t][d] / (end - begin);
    ids.push_back(nearest(mean, codes));
  }
  for (std::size_t t = 0; t < N; ++t) {
    const double ratio = static_cast<double>(n) / static_cast<double>(N);
    const double at = std::max((static_cast<double>(t) + 0.5) * ratio - 0.5, 0.0);
    const std::size_t low = std::min(static_cast<std::size_t>(at), n - 1);
    const std::size_t high = std::min(low + 1, n - 1);
    const double part = at - static_cast<double>(low);
    for (std::size_t d = 0; d < D; ++d)
      r[t][d] -= (1 - part) * codes[ids[low]][d] + part * codes[ids[high]][d];
  }
  return ids;
}

}  // namespace reference
