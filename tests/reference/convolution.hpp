#pragma once

#include <cstddef>
#include <vector>

/// Convolutions in double precision and plain loops.
///
/// Truth of layer/causal_conv1d.
namespace reference {

/// y[t][c] = bias[c] + sum_j w[c][j] x[t - (W - 1) + j][c], inputs before the first being `before`
/// [W - 1][C].
inline std::vector<std::vector<double>> causal_conv1d(
    const std::vector<std::vector<double>>& x, const std::vector<std::vector<double>>& before,
    const std::vector<std::vector<double>>& weight, const std::vector<double>& bias) {
  auto all = before;
  all.insert(all.end(), x.begin(), x.end());
  std::vector<std::vector<double>> y;
  for (std::size_t t = 0; t < x.size(); ++t) {
    y.push_back(bias);
    for (std::size_t c = 0; c < bias.size(); ++c)
      for (std::size_t j = 0; j < weight[c].size(); ++j) y[t][c] += weight[c][j] * all[t + j][c];
  }
  return y;
}

}  // namespace reference
