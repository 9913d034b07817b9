#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

/// A memory trained while it is read, in double precision and plain loops.
///
/// Truth of delta/atlas.
namespace reference {

using Matrix = std::vector<std::vector<double>>;

inline Matrix zeros(std::size_t rows, std::size_t columns) {
  return Matrix(rows, std::vector<double>(columns, 0.0));
}

/// y = [x +] W1 gelu(W2 x), or y = W1 x where W2 is empty.
struct Memory {
  Matrix w1, w2;
  bool residual = false;

  static double gelu(double h) { return h * 0.5 * std::erfc(-h / std::sqrt(2.0)); }
  static double slope(double h) {
    return 0.5 * std::erfc(-h / std::sqrt(2.0)) + h * std::exp(-h * h / 2) / std::sqrt(2 * M_PI);
  }
  static std::vector<double> times(const Matrix& w, const std::vector<double>& x) {
    std::vector<double> y;
    for (const auto& row : w) {
      double sum = 0;
      for (std::size_t i = 0; i < x.size(); ++i) sum += row[i] * x[i];
      y.push_back(sum);
    }
    return y;
  }

  std::vector<double> read(const std::vector<double>& x) const {
    if (w2.empty()) return times(w1, x);
    auto s = times(w2, x);
    for (double& h : s) h = gelu(h);
    auto y = times(w1, s);
    for (std::size_t i = 0; residual && i < y.size(); ++i) y[i] += x[i];
    return y;
  }

  /// Adds the gradient of g |read(x) - v|^2.
  void add_gradient(const std::vector<double>& x, const std::vector<double>& v, double g,
                    Matrix& d1, Matrix& d2) const {
    auto e = read(x);
    for (std::size_t i = 0; i < e.size(); ++i) e[i] = 2 * g * (e[i] - v[i]);
    const auto h = w2.empty() ? std::vector<double>() : times(w2, x);
    for (std::size_t i = 0; i < e.size(); ++i)
      for (std::size_t j = 0; j < w1[0].size(); ++j)
        d1[i][j] += e[i] * (w2.empty() ? x[j] : gelu(h[j]));
    for (std::size_t j = 0; j < h.size(); ++j) {
      double back = 0;
      for (std::size_t i = 0; i < e.size(); ++i) back += w1[i][j] * e[i];
      for (std::size_t c = 0; c < x.size(); ++c) d2[j][c] += back * slope(h[j]) * x[c];
    }
  }
};

struct AtlasGates {
  std::vector<double> alpha, eta, theta;
  Matrix gamma;  ///< [N][window]
};

/// The results of all tokens, gradients at the weights of the token before.
inline Matrix atlas(Memory memory, const Matrix& q, const Matrix& k, const Matrix& v,
                    const AtlasGates& gates) {
  Matrix out;
  const std::size_t hidden = memory.w2.size(), width = hidden == 0 ? 0 : memory.w2[0].size();
  Matrix s1 = zeros(memory.w1.size(), memory.w1[0].size()), s2 = zeros(hidden, width);
  for (std::size_t t = 0; t < q.size(); ++t) {
    Matrix d1 = zeros(s1.size(), s1[0].size()), d2 = zeros(hidden, width);
    for (std::size_t j = 0; j < gates.gamma[t].size() && j <= t; ++j)
      memory.add_gradient(k[t - j], v[t - j], gates.gamma[t][j], d1, d2);
    const auto learn = [&](Matrix& w, Matrix& s, const Matrix& d) {
      for (std::size_t r = 0; r < w.size(); ++r)
        for (std::size_t c = 0; c < w[r].size(); ++c) {
          s[r][c] = gates.theta[t] * s[r][c] - gates.eta[t] * d[r][c];
          w[r][c] = gates.alpha[t] * w[r][c] + s[r][c];
        }
    };
    learn(memory.w1, s1, d1);
    learn(memory.w2, s2, d2);
    out.push_back(memory.read(q[t]));
  }
  return out;
}

}  // namespace reference
