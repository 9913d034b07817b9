#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <vector>

/// Scores by distance in double precision and plain loops: truth of softmax/rope_alibi,
/// softmax/urpe and softmax/transformer_xl.
namespace reference {

/// -slope_h (1 + 1/2 + ... + 1/|d|), d = i + (M - N) - j, times `weight`, [H, N, M]
inline std::vector<double> harmonic(const std::vector<double>& slopes, std::size_t N, std::size_t M,
                                    double weight) {
  std::vector<double> bias;
  for (const double slope : slopes)
    for (std::size_t i = 0; i < N; ++i)
      for (std::size_t j = 0; j < M; ++j) {
        const std::size_t query = i + M, key = j + N;
        double sum = 0;
        for (std::size_t d = query > key ? query - key : key - query; d > 0; --d)
          sum += 1 / static_cast<double>(d);
        bias.push_back(-weight * slope * sum);
      }
  return bias;
}

/// Bucket of the distance r = key - query as URPE's code has it: the row of its table, less that of
/// the smallest number of all distances of `length` positions; a distance beyond them counts as the
/// last.
inline std::ptrdiff_t urpe_bucket(std::ptrdiff_t r, int buckets, int max_distance,
                                  std::ptrdiff_t length) {
  const auto raw = [&](std::ptrdiff_t d) {
    const int half = buckets / 2, e = half / 2;
    const std::ptrdiff_t n = std::abs(d);
    std::ptrdiff_t t = n;
    if (n >= e) {
      const double steps = std::log(static_cast<double>(n) / e) /
                           std::log(static_cast<double>(max_distance) / e) * (half - e);
      t = std::min<std::ptrdiff_t>(half - 1, e + static_cast<std::ptrdiff_t>(steps + 1e-9));
    }
    if (d < 0) t = -t;
    return t >= 0 ? t + 2 : t;
  };
  std::ptrdiff_t smallest = raw(0);
  for (std::ptrdiff_t d = 1 - length; d < length; ++d) smallest = std::min(smallest, raw(d));
  return raw(std::max(1 - length, std::min(length - 1, r))) - smallest;
}

/// table[bucket(j - i - (M - N)), h] of every head, query and key, [H, N, M]; table [buckets + 1,
/// H].
inline std::vector<double> urpe(const std::vector<double>& table, int buckets, int max_distance,
                                std::ptrdiff_t length, std::size_t N, std::size_t M) {
  const std::size_t H = table.size() / static_cast<std::size_t>(buckets + 1);
  std::vector<double> numbers;
  for (std::size_t h = 0; h < H; ++h)
    for (std::size_t i = 0; i < N; ++i)
      for (std::size_t j = 0; j < M; ++j) {
        const auto r = static_cast<std::ptrdiff_t>(j + N) - static_cast<std::ptrdiff_t>(i + M);
        const auto row = static_cast<std::size_t>(urpe_bucket(r, buckets, max_distance, length));
        numbers.push_back(table[row * H + h]);
      }
  return numbers;
}

/// The logits of Transformer-XL of one head, without the mask:
///   s_ij = ((q_i + u) . k_j + (q_i + v) . r(i + M - N - j)) scale
/// q [N, D], k [M, D], u and v [D]; r [L, D], row m is distance L - 1 - m; 0 where j is too late.
inline std::vector<double> transformer_xl(const std::vector<double>& q,
                                          const std::vector<double>& k,
                                          const std::vector<double>& u,
                                          const std::vector<double>& v,
                                          const std::vector<double>& r, double scale) {
  const std::size_t D = u.size(), N = q.size() / D, M = k.size() / D, L = r.size() / D;
  std::vector<double> scores;
  for (std::size_t i = 0; i < N; ++i)
    for (std::size_t j = 0; j < M; ++j) {
      double s = 0;
      for (std::size_t d = 0; d < D && i + M >= j + N; ++d) {
        const std::size_t distance = i + M - N - j;
        s += (q[i * D + d] + u[d]) * k[j * D + d];
        s += (q[i * D + d] + v[d]) * r[(L - 1 - distance) * D + d];
      }
      scores.push_back(s * scale);
    }
  return scores;
}

}  // namespace reference
