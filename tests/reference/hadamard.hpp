#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <vector>

/// Truth of quant/hadamard.
namespace reference {

/// x H_n / sqrt(n) from the definition: H_n[i, j] = (-1)^(number of ones that i and j share).
inline std::vector<double> hadamard(const std::vector<double>& x) {
  const std::size_t n = x.size();
  std::vector<double> y(n, 0.0);
  for (std::size_t j = 0; j < n; ++j) {
    for (std::size_t i = 0; i < n; ++i) y[j] += std::popcount(i & j) % 2 == 0 ? x[i] : -x[i];
    y[j] /= std::sqrt(static_cast<double>(n));
  }
  return y;
}

/// Signs, and then the transform of each block of `block` entries.
inline std::vector<double> rotated(const std::vector<double>& x, const std::vector<double>& signs,
                                   std::size_t block) {
  std::vector<double> y;
  for (std::size_t at = 0; at < x.size(); at += block) {
    std::vector<double> part;
    for (std::size_t i = at; i < at + block; ++i) part.push_back(x[i] * signs[i]);
    for (const double v : hadamard(part)) y.push_back(v);
  }
  return y;
}

}  // namespace reference
