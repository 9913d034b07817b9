#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// FAVOR+ in double precision, one head: features as published, quotient of sums over all pairs.
/// Shares no code with the library.
///
/// Truth of kernelized/performer.
namespace reference {

using FavorRows = std::vector<std::vector<double>>;

/// u = W y and |y|^2 / 2 with y = D^(-1/4) x.
inline std::vector<double> favor_projection(const std::vector<double>& x, const FavorRows& w,
                                            double& half_square) {
  const double c = std::pow(static_cast<double>(x.size()), -0.25);
  half_square = 0;
  for (double v : x) half_square += c * c * v * v / 2;
  std::vector<double> u;
  for (const auto& row : w) {
    double sum = 0;
    for (std::size_t d = 0; d < x.size(); ++d) sum += row[d] * c * x[d];
    u.push_back(sum);
  }
  return u;
}

/// m^(-1/2) (exp(u - |y|^2 / 2 - stabiliser) + eps): of keys the stabiliser is common to all.
inline FavorRows favor_features(const FavorRows& x, const FavorRows& w, double eps, bool keys) {
  double top = -HUGE_VAL;
  FavorRows us;
  std::vector<double> halves;
  for (const auto& row : x) {
    double half = 0;
    us.push_back(favor_projection(row, w, half));
    halves.push_back(half);
    top = std::max(top, *std::max_element(us.back().begin(), us.back().end()));
  }
  for (std::size_t i = 0; i < us.size(); ++i) {
    const double own = keys ? top : *std::max_element(us[i].begin(), us[i].end());
    for (double& u : us[i])
      u = (std::exp(u - halves[i] - own) + eps) / std::sqrt(static_cast<double>(w.size()));
  }
  return us;
}

inline FavorRows performer(const FavorRows& q, const FavorRows& k, const FavorRows& v,
                           const FavorRows& w, bool causal, double eps) {
  const FavorRows f = favor_features(q, w, eps, false), g = favor_features(k, w, eps, true);
  FavorRows out;
  for (std::size_t i = 0; i < q.size(); ++i) {
    std::vector<double> row(v[0].size(), 0.0);
    double den = 0;
    for (std::size_t j = 0; j < (causal ? i + 1 : k.size()); ++j) {
      double weight = 0;
      for (std::size_t r = 0; r < w.size(); ++r) weight += f[i][r] * g[j][r];
      den += weight;
      for (std::size_t e = 0; e < row.size(); ++e) row[e] += weight * v[j][e];
    }
    for (double& x : row) x /= den;
    out.push_back(row);
  }
  return out;
}

}  // namespace reference
