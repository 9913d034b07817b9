#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

/// Weights of attention that is not softmax, in double precision and plain loops. Each takes the
/// visible logits s of one row.
///
/// Truth of softmax/relu, softmax/squared_relu, softmax/identity, softmax/sigmoid, softmax/power,
/// softmax/stable_power, softmax/clipped, softmax/pattention, and of softmax/gated,
/// softmax/kmeans, softmax/categorical, layer/gelu_table. (softmax/top_k: softmax.hpp.)
namespace reference {

using Values = std::vector<double>;

/// relu(s / n)^p
inline Values relu_weights(Values s, double n, int p) {
  for (double& x : s) x = std::pow(std::max(x / n, 0.0), p);
  return s;
}

/// s / n
inline Values identity_weights(Values s, double n) {
  for (double& x : s) x /= n;
  return s;
}

/// sigma(s + bias) / n
inline Values sigmoid_weights(Values s, double bias, double n) {
  for (double& x : s) x = 1 / (1 + std::exp(-(x + bias))) / n;
  return s;
}

/// s^p / (eps + sum s^p); with `mean`, both of the fraction are means over the row.
inline Values power_weights(Values s, int p, double eps, bool mean) {
  const double length = mean ? static_cast<double>(s.size()) : 1;
  double sum = 0;
  for (double& x : s) sum += x = std::pow(x, p) / length;
  for (double& x : s) x = eps + sum == 0 ? 0 : x / (eps + sum);
  return s;
}

/// The same of s / (max |s| + delta).
inline Values stable_power_weights(Values s, int p, double eps, bool mean, double delta) {
  double largest = 0;
  for (const double x : s) largest = std::max(largest, std::abs(x));
  for (double& x : s) x = largest + delta == 0 ? 0 : x / (largest + delta);
  return power_weights(s, p, eps, mean);
}

/// factor * softmax(s)
inline Values scaled_softmax(Values s, double factor) {
  double top = -HUGE_VAL, sum = 0;
  for (const double x : s) top = std::max(top, x);
  for (double& x : s) sum += x = std::exp(x - top);
  for (double& x : s) x *= factor / sum;
  return s;
}

/// clip((eta - gamma) softmax(s) + gamma, 0, 1)
inline Values clipped_weights(const Values& s, double eta, double gamma) {
  Values w = scaled_softmax(s, 1);
  for (double& x : w) x = std::clamp((eta - gamma) * x + gamma, 0.0, 1.0);
  return w;
}

inline double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }

inline double length_of(const Values& s) {
  double squares = 0;
  for (const double x : s) squares += x * x;
  return std::sqrt(squares);
}

/// gelu(tau a / |a|)
inline Values normalized_gelu(Values a, double tau) {
  const double length = length_of(a);
  for (double& x : a) x = length == 0 ? 0 : gelu(tau * x / length);
  return a;
}

/// tau gelu(a) / |gelu(a)|
inline Values gelu_normalized(Values a, double tau) {
  for (double& x : a) x = gelu(x);
  const double length = length_of(a);
  for (double& x : a) x = length == 0 ? 0 : tau * x / length;
  return a;
}

/// sigma(w . x + bias), or of u . relu(W x + c) + bias.
inline double linear_gate(const Values& w, const Values& x, double bias) {
  double a = bias;
  for (std::size_t d = 0; d < x.size(); ++d) a += w[d] * x[d];
  return 1 / (1 + std::exp(-a));
}
inline double mlp_gate(const std::vector<Values>& W, const Values& c, const Values& u,
                       const Values& x, double bias) {
  Values hidden;
  for (std::size_t m = 0; m < u.size(); ++m) {
    double a = c[m];
    for (std::size_t d = 0; d < x.size(); ++d) a += W[m][d] * x[d];
    hidden.push_back(std::max(a, 0.0));
  }
  return linear_gate(u, hidden, bias);
}

/// The index of the largest number, the first of equal ones.
inline std::size_t argmax(const Values& s) {
  return static_cast<std::size_t>(std::max_element(s.begin(), s.end()) - s.begin());
}

/// Which token j* a query at position i attends to: `matches` and `visible` say what of each token.
/// context: T of the relative positions, 0 for none.
inline std::size_t categorical_choice(const std::vector<bool>& matches,
                                      const std::vector<bool>& visible, std::size_t i,
                                      double context) {
  std::size_t best = 0;
  double best_priority = -HUGE_VAL;
  for (std::size_t j = 0; j < matches.size(); ++j) {
    if (!matches[j] || !visible[j]) continue;
    const double r = static_cast<double>(j) - static_cast<double>(i);
    double priority = 0;
    if (context > 0 && r == 0) priority = -2;
    if (context > 0 && r > 1) priority = -(r - 1) / (context - 2);
    if (context > 0 && r < -1) priority = -(-r - 1) / (context - 1);
    if (priority > best_priority) {
      best = j;
      best_priority = priority;
    }
  }
  return best;
}

/// relu(x) minus the linear interpolation of u Phi(-u), known at u = i / 32 to 22 bits.
inline double gelu_by_table(double x) {
  const double at = std::abs(x) * 32, relu = std::max(x, 0.0);
  if (at >= 176) return relu;
  const auto entry = [](double i) {
    const double u = i / 32;
    return std::round((u - gelu(u)) * 0x1p22) * 0x1p-22;
  };
  const double i = std::floor(at);
  return relu - (entry(i) + (at - i) * (entry(i + 1) - entry(i)));
}

/// Softmax of logits and of so many more keys of logit 0. Truth of linear/diag_attention.
inline std::vector<double> padded_softmax(std::vector<double> logits, double pads) {
  double sum = pads;
  for (double& x : logits) sum += x = std::exp(x);
  for (double& x : logits) x /= sum;
  return logits;
}

}  // namespace reference
