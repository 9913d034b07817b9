#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

/// Attention by 8-bit integers in double precision and plain loops, the block loop as
/// arXiv:2410.02367 has it (with ties to even): truth of quant/sage_attention.
namespace reference {

using Matrix = std::vector<std::vector<double>>;

struct SageOptions {
  std::size_t query_block = 128, key_block = 64;
  bool causal = false;  ///< key j is visible to row i if j <= i + M - N
  bool int8_values = false;
};

struct SageResult {
  Matrix out;               ///< [N][E]
  std::vector<double> lse;  ///< [N], natural logarithm, of logits with the mean of the keys
};

/// rint(x / s) and s = max |x| / 127 over rows [begin, end).
inline double code_rows(Matrix& x, std::size_t begin, std::size_t end) {
  double most = 0;
  for (std::size_t i = begin; i < end; ++i)
    for (const double v : x[i]) most = std::max(most, std::abs(v));
  const double s = most / 127;
  for (std::size_t i = begin; i < end; ++i)
    for (double& v : x[i]) v = s == 0 ? 0 : std::rint(v / s);
  return s;
}

/// One head: q [N][D], k [M][D], v [M][E].
inline SageResult sage_attention(const Matrix& q, Matrix k, Matrix v, const SageOptions& o) {
  const std::size_t N = q.size(), M = k.size(), D = q[0].size(), E = v[0].size();
  std::vector<double> mean(D, 0.0), s_v(E, 0.0);
  for (const auto& row : k)
    for (std::size_t d = 0; d < D; ++d) mean[d] += row[d] / static_cast<double>(M);
  for (auto& row : k)
    for (std::size_t d = 0; d < D; ++d) row[d] -= mean[d];
  std::vector<double> s_k, s_q;
  for (std::size_t j = 0; j < M; j += o.key_block)
    s_k.push_back(code_rows(k, j, std::min(M, j + o.key_block)));
  if (o.int8_values) {
    for (const auto& row : v)
      for (std::size_t e = 0; e < E; ++e) s_v[e] = std::max(s_v[e], std::abs(row[e]) / 127);
    for (auto& row : v)
      for (std::size_t e = 0; e < E; ++e) row[e] = s_v[e] == 0 ? 0 : std::rint(row[e] / s_v[e]);
  }
  const double scale = 1 / std::sqrt(static_cast<double>(D)), log2e = 1 / std::log(2.0);
  Matrix codes = q;
  for (auto& row : codes)
    for (double& x : row) x *= scale * log2e;
  for (std::size_t i = 0; i < N; i += o.query_block)
    s_q.push_back(code_rows(codes, i, std::min(N, i + o.query_block)));

  constexpr double none = -std::numeric_limits<double>::infinity();
  SageResult result{Matrix(N, std::vector<double>(E, 0.0)), std::vector<double>(N, none)};
  for (std::size_t i = 0; i < N; ++i) {
    double m = none, l = 0;
    auto& out = result.out[i];
    for (std::size_t j0 = 0; j0 < M; j0 += o.key_block) {
      const std::size_t end = std::min(M, j0 + o.key_block);
      std::vector<double> s;
      for (std::size_t j = j0; j < end; ++j) {
        double dot = 0;
        for (std::size_t d = 0; d < D; ++d) dot += codes[i][d] * k[j][d];
        const bool visible = !o.causal || j + N <= i + M;
        s.push_back(visible ? dot * s_q[i / o.query_block] * s_k[j0 / o.key_block] : none);
      }
      const double top = std::max(m, *std::max_element(s.begin(), s.end()));
      if (top == none) continue;
      const double keep = m == none ? 0 : std::exp2(m - top);
      l *= keep;
      for (double& x : out) x *= keep;
      m = top;
      for (std::size_t j = j0; j < end; ++j) {
        const double p = std::exp2(s[j - j0] - m);
        l += p;
        for (std::size_t e = 0; e < E; ++e)
          out[e] += o.int8_values ? std::rint(127 * p) * v[j][e] * s_v[e] / 127 : p * v[j][e];
      }
    }
    if (l == 0) continue;
    double shift = 0;
    for (std::size_t d = 0; d < D; ++d) shift += q[i][d] * mean[d] * scale;
    result.lse[i] = (m + std::log2(l)) / log2e + shift;
    for (double& x : out) x /= l;
  }
  return result;
}

}  // namespace reference
