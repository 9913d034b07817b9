#pragma once

#include <cstddef>
#include <vector>

/// Scores by distance in double precision and plain loops: truth of softmax/rope_alibi and of
/// softmax/transformer_xl.
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
