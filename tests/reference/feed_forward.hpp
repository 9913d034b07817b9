#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

/// Linear and feed-forward layers of one row in double precision: truth of layer/swiglu.
namespace reference {

using Row = std::vector<double>;

/// y_r = sum_c W[r, c] x_c + b_r, W row-major [rows, x.size()], b [rows] or empty.
inline Row linear(const Row& w, const Row& b, const Row& x) {
  Row y(w.size() / x.size(), 0.0);
  for (std::size_t r = 0; r < y.size(); ++r) {
    for (std::size_t c = 0; c < x.size(); ++c) y[r] += w[r * x.size() + c] * x[c];
    if (!b.empty()) y[r] += b[r];
  }
  return y;
}

inline double identity(double x) { return x; }
inline double relu(double x) { return x > 0 ? x : 0; }
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
inline double silu(double x) { return x / (1 + std::exp(-x)); }
inline double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
inline double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

/// down f(up x).
template <class F>
Row feed_forward(const Row& up, const Row& up_bias, const Row& down, const Row& down_bias, F f,
                 const Row& x) {
  Row hidden = linear(up, up_bias, x);
  for (double& h : hidden) h = f(h);
  return linear(down, down_bias, hidden);
}

/// down (f(gate x) * up x), all without bias.
template <class F>
Row gated_feed_forward(const Row& gate, const Row& up, const Row& down, F f, const Row& x) {
  Row hidden = linear(gate, {}, x);
  const Row factor = linear(up, {}, x);
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = f(hidden[i]) * factor[i];
  return linear(down, {}, hidden);
}

}  // namespace reference
