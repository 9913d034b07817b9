#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

/// Scores of complex attention in double precision and plain loops: truth of softmax/cmha.
namespace reference {

/// s_mn = sum_d |q_md| |k_nd| cos(delta_d (phi_q,md - phi_k,nd) + b_d + (m - n) g_d) of one head;
/// q [N, D], k [M, D], real parts first; query i stands at m = i + first, key j at n = j.
inline std::vector<double> complex_scores(const std::vector<double>& q,
                                          const std::vector<double>& k,
                                          const std::vector<double>& delta,
                                          const std::vector<double>& b, double first) {
  const std::size_t pairs = delta.size(), D = 2 * pairs;
  std::vector<double> scores;
  for (std::size_t i = 0; i < q.size() / D; ++i)
    for (std::size_t j = 0; j < k.size() / D; ++j) {
      const double distance = static_cast<double>(i) + first - static_cast<double>(j);
      double sum = 0;
      for (std::size_t d = 0; d < pairs; ++d) {
        const double q_re = q[i * D + d], q_im = q[i * D + pairs + d];
        const double k_re = k[j * D + d], k_im = k[j * D + pairs + d];
        const double lengths = std::sqrt(q_re * q_re + q_im * q_im + 1e-9) *
                               std::sqrt(k_re * k_re + k_im * k_im + 1e-9);
        const double g = std::pow(1e4, -2 * static_cast<double>(d) / static_cast<double>(D));
        const double between = std::atan2(q_im, q_re) - std::atan2(k_im, k_re);
        sum += lengths * std::cos(delta[d] * between + b[d] + distance * g);
      }
      scores.push_back(sum);
    }
  return scores;
}

}  // namespace reference
