#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

/// Attention of positions in double precision and plain loops: truth of
/// softmax/positional_attention.
namespace reference {

struct PositionalSizes {
  std::size_t B, H, N, M, P, E;
};

/// q [H, N, P], k [H, M, P], v [B, H, M, E] -> [B, H, N, E]
inline std::vector<double> positional(const std::vector<double>& q, const std::vector<double>& k,
                                      const std::vector<double>& v, const PositionalSizes& s) {
  std::vector<double> out(s.B * s.H * s.N * s.E, 0.0);
  for (std::size_t h = 0; h < s.H; ++h)
    for (std::size_t i = 0; i < s.N; ++i) {
      std::vector<double> weights;  // [M]
      double sum = 0;
      for (std::size_t j = 0; j < s.M; ++j) {
        double dot = 0;
        for (std::size_t p = 0; p < s.P; ++p)
          dot += q[(h * s.N + i) * s.P + p] * k[(h * s.M + j) * s.P + p];
        weights.push_back(std::exp(dot / std::sqrt(static_cast<double>(s.P))));
        sum += weights.back();
      }
      for (std::size_t b = 0; b < s.B; ++b)
        for (std::size_t j = 0; j < s.M; ++j)
          for (std::size_t e = 0; e < s.E; ++e)
            out[((b * s.H + h) * s.N + i) * s.E + e] +=
                weights[j] / sum * v[((b * s.H + h) * s.M + j) * s.E + e];
    }
  return out;
}

}  // namespace reference
