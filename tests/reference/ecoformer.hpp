#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

/// EcoFormer in double precision: signs of kernel hashes as plain numbers, and attention by their
/// products over all pairs. Shares no code with the library.
///
/// Truth of kernelized/ecoformer.
namespace reference {

using HashRows = std::vector<std::vector<double>>;

/// What decides the signs: (A kappa)_r of every token of one head.
inline HashRows hash_projections(HashRows x, const HashRows& a, const HashRows& anchors,
                                 const std::vector<double>& mean) {
  HashRows distances;
  double sigma = 0;
  for (auto& row : x) {
    double length = 0;
    for (double v : row) length += v * v;
    for (double& v : row) v /= std::sqrt(length);
    std::vector<double> d;
    for (const auto& anchor : anchors) {
      double square = 0;
      for (std::size_t c = 0; c < row.size(); ++c)
        square += (row[c] - anchor[c]) * (row[c] - anchor[c]);
      d.push_back(square);
      sigma += square / static_cast<double>(x.size() * anchors.size());
    }
    distances.push_back(d);
  }
  HashRows y;
  for (const auto& d : distances) {
    std::vector<double> projected;
    for (const auto& weights : a) {
      double sum = 0;
      for (std::size_t l = 0; l < d.size(); ++l)
        sum += weights[l] * (std::exp(-d[l] / (2 * sigma)) - mean[l]);
      projected.push_back(sum);
    }
    y.push_back(projected);
  }
  return y;
}

/// q, k rows of -1 and +1. bias times the sum of all values, or the query's own value.
inline HashRows sign_attention(const HashRows& q, const HashRows& k, const HashRows& v, double bias,
                               bool own_value) {
  HashRows out;
  for (std::size_t i = 0; i < q.size(); ++i) {
    std::vector<double> row(v[0].size(), 0.0);
    double den = 0;
    for (std::size_t j = 0; j < k.size(); ++j) {
      double weight = 0;
      for (std::size_t r = 0; r < q[i].size(); ++r) weight += q[i][r] * k[j][r];
      den += weight + bias;
      for (std::size_t e = 0; e < row.size(); ++e)
        row[e] += (weight + (own_value ? 0 : bias)) * v[j][e];
    }
    for (std::size_t e = 0; e < row.size(); ++e)
      row[e] = (row[e] + (own_value ? bias * v[i][e] : 0)) / den;
    out.push_back(row);
  }
  return out;
}

}  // namespace reference
