#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

/// Informer and Synthesizer in double precision and plain loops, one head or sequence at a time:
/// truth of kernelized/informer_probsparse, kernelized/informer_distil and kernelized/synthesizer.
namespace reference {

using Rows = std::vector<std::vector<double>>;

inline double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// softmax(logits) v, over the logits there are.
inline std::vector<double> softmax_mean(const std::vector<double>& logits, const Rows& v) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> out(v.front().size(), 0.0);
  double sum = 0;
  for (std::size_t j = 0; j < logits.size(); ++j) {
    const double weight = std::exp(logits[j] - top);
    sum += weight;
    for (std::size_t e = 0; e < out.size(); ++e) out[e] += weight * v[j][e];
  }
  for (double& x : out) x /= sum;
  return out;
}

/// The queries of the largest max - sum / M, ascending.
inline std::vector<std::size_t> prob_sparse_selection(
    const Rows& q, const Rows& k, const std::vector<std::vector<std::size_t>>& samples,
    std::size_t count) {
  std::vector<double> measure;
  for (std::size_t i = 0; i < q.size(); ++i) {
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (const std::size_t key : samples[i]) {
      top = std::max(top, dot(q[i], k[key]));
      sum += dot(q[i], k[key]);
    }
    measure.push_back(top - sum / static_cast<double>(k.size()));
  }
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < q.size(); ++i) {
    std::size_t before = 0;
    for (std::size_t j = 0; j < q.size(); ++j)
      if (measure[j] > measure[i] || (measure[j] == measure[i] && j < i)) ++before;
    if (before < count) chosen.push_back(i);
  }
  return chosen;
}

inline Rows prob_sparse(const Rows& q, const Rows& k, const Rows& v,
                        const std::vector<std::size_t>& chosen, double scale, bool causal) {
  Rows out;
  std::vector<double> running(v.front().size(), 0.0), mean(v.front().size(), 0.0);
  for (const auto& row : v)
    for (std::size_t e = 0; e < row.size(); ++e) mean[e] += row[e] / static_cast<double>(v.size());
  for (std::size_t i = 0; i < q.size(); ++i) {
    for (std::size_t e = 0; causal && e < running.size(); ++e) running[e] += v[i][e];
    out.push_back(causal ? running : mean);
    if (!std::binary_search(chosen.begin(), chosen.end(), i)) continue;
    std::vector<double> logits;
    for (std::size_t j = 0; j < (causal ? i + 1 : k.size()); ++j)
      logits.push_back(scale * dot(q[i], k[j]));
    out.back() = softmax_mean(logits, v);
  }
  return out;
}

/// One sequence x [N][C]; w [C'][C][3] flat.
struct DistilParameters {
  std::vector<double> w, bias, gamma, beta, mean, variance;
  std::size_t padding;
};

inline Rows distil(const Rows& x, const DistilParameters& p) {
  const std::size_t N = x.size(), C = x.front().size(), outputs = p.bias.size();
  const std::size_t L = N + 2 * p.padding - 2;
  Rows y(L, std::vector<double>(outputs)), out;
  for (std::size_t n = 0; n < L; ++n)
    for (std::size_t o = 0; o < outputs; ++o) {
      double sum = p.bias[o];
      for (std::size_t t = 0; t < 3; ++t)
        for (std::size_t i = 0; i < C; ++i)
          sum += p.w[(o * C + i) * 3 + t] * x[(n + t + N - p.padding) % N][i];
      sum = (sum - p.mean[o]) / std::sqrt(p.variance[o] + 1e-5) * p.gamma[o] + p.beta[o];
      y[n][o] = sum > 0 ? sum : std::expm1(sum);
    }
  for (std::size_t i = 0; i < (L + 1) / 2; ++i) {
    out.push_back(y[2 * i]);
    for (std::size_t o = 0; o < outputs; ++o) {
      if (i > 0) out[i][o] = std::max(out[i][o], y[2 * i - 1][o]);
      if (2 * i + 1 < L) out[i][o] = std::max(out[i][o], y[2 * i + 1][o]);
    }
  }
  return out;
}

// --- Synthesizer

/// Logits [N][L] of each form.
inline Rows dense_logits(const Rows& x, const Rows& w1, const std::vector<double>& b1,
                         const Rows& w2, const std::vector<double>& b2) {
  Rows logits;
  for (const auto& token : x) {
    std::vector<double> hidden, row;
    for (std::size_t r = 0; r < w1.size(); ++r)
      hidden.push_back(std::max(0.0, dot(w1[r], token) + b1[r]));
    for (std::size_t j = 0; j < w2.size(); ++j) row.push_back(dot(w2[j], hidden) + b2[j]);
    logits.push_back(row);
  }
  return logits;
}

inline Rows products(const Rows& a, const Rows& b) {
  Rows out;
  for (const auto& row : a) {
    out.emplace_back();
    for (const auto& other : b) out.back().push_back(dot(row, other));
  }
  return out;
}

inline Rows outer_logits(const Rows& x, const Rows& wa, const Rows& wb, bool repeat) {
  const Rows a = products(x, wa), b = products(x, wb);
  Rows logits;
  for (std::size_t i = 0; i < x.size(); ++i) {
    logits.emplace_back();
    for (std::size_t j = 0; j < wa.size() * wb.size(); ++j)
      logits[i].push_back(a[i][repeat ? j / wb.size() : j % wa.size()] * b[i][j % wb.size()]);
  }
  return logits;
}

/// Attention by the first logits of each row, as many as there are values, or up to its own.
inline Rows synthesized(const Rows& logits, const Rows& v, bool causal) {
  Rows out;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const auto count = static_cast<std::ptrdiff_t>(causal ? i + 1 : v.size());
    out.push_back(softmax_mean({logits[i].begin(), logits[i].begin() + count}, v));
  }
  return out;
}

}  // namespace reference
