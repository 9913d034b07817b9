#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Flow-Attention in double precision as its equations are written: sums taken anew for every
/// token. One head; q [N][D] and k [M][D] are features already. Shares no code with the library.
///
/// Truth of flow/flow_attention and flow/flow_attention_causal.
namespace reference {

using FlowRows = std::vector<std::vector<double>>;

/// (x + eps) . (sum_j s_j y_j + eps) over the first n rows of y.
inline double flow(const std::vector<double>& x, const FlowRows& y, const std::vector<double>& s,
                   std::size_t n, double eps) {
  double total = 0;
  for (std::size_t d = 0; d < x.size(); ++d) {
    double sum = 0;
    for (std::size_t j = 0; j < n; ++j) sum += (s.empty() ? 1 : s[j]) * y[j][d];
    total += (x[d] + eps) * (sum + eps);
  }
  return total;
}

inline FlowRows flow_attention(const FlowRows& q, const FlowRows& k, const FlowRows& v, bool causal,
                               double clamp, double eps) {
  const std::size_t N = q.size(), M = k.size();
  const auto upto = [&](std::size_t i, std::size_t all) { return causal ? i + 1 : all; };
  const auto count = [&](std::size_t i) { return causal ? static_cast<double>(i + 1) : 1.0; };
  std::vector<double> in, out_flow, gate, competition;
  for (std::size_t i = 0; i < N; ++i) in.push_back(count(i) / flow(q[i], k, {}, upto(i, M), eps));
  for (std::size_t j = 0; j < M; ++j)
    out_flow.push_back(count(j) / flow(k[j], q, {}, upto(j, N), eps));
  const double ratio = causal ? 1 : static_cast<double>(N) / static_cast<double>(M);
  for (std::size_t i = 0; i < N; ++i) {
    const double kept = flow(q[i], k, out_flow, upto(i, M), eps) / count(i);
    gate.push_back(1 / (1 + std::exp(-kept * ratio)));
  }
  for (std::size_t j = 0; j < M; ++j) {
    const double kept = flow(k[j], q, in, upto(j, N), eps) / count(j);
    competition.push_back(std::exp(std::clamp(kept, -clamp, clamp)));
  }
  std::vector<double> c;
  for (std::size_t j = 0; j < M; ++j) {
    double sum = 0;
    for (std::size_t l = 0; l < upto(j, M); ++l) sum += competition[l];
    c.push_back(competition[j] / sum * static_cast<double>(upto(j, M)));
  }
  FlowRows result;
  for (std::size_t i = 0; i < N; ++i) {
    std::vector<double> row(v[0].size(), 0.0);
    for (std::size_t j = 0; j < upto(i, M); ++j) {
      double weight = 0;
      for (std::size_t d = 0; d < q[i].size(); ++d) weight += q[i][d] * in[i] / count(i) * k[j][d];
      for (std::size_t e = 0; e < row.size(); ++e) row[e] += gate[i] * weight * c[j] * v[j][e];
    }
    result.push_back(row);
  }
  return result;
}

}  // namespace reference
