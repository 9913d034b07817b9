#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <vector>

/// Feature maps of linear attention in double precision, each as its paper writes it, and linear
/// attention as a weighted sum over all pairs by a kernel. Shares no code with the library.
///
/// Truth of linear/cosformer, linear/hedgehog, linear/t2r, linear/taylor, linear/rebased,
/// linear/polynomial, linear/dpfp.
namespace reference {

using Vector = std::vector<double>;
using Matrix = std::vector<Vector>;

inline double inner(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

inline Vector relu(Vector x) {
  for (double& v : x) v = std::max(v, 0.0);
  return x;
}

/// relu(q) . relu(k) cos((pi / 2) (i - j) / horizon), eq. 10 of cosFormer.
inline double cosine_kernel(const Vector& q, const Vector& k, double i, double j, double horizon) {
  return inner(relu(q), relu(k)) * std::cos(std::numbers::pi / 2 * (i - j) / horizon);
}

/// 1 + t + t^2 / 2 with t = q . k / sqrt(D).
inline double taylor_kernel(const Vector& q, const Vector& k) {
  const double t = inner(q, k) / std::sqrt(static_cast<double>(q.size()));
  return 1 + t + t * t / 2;
}

inline Vector layer_norm(const Vector& x, const Vector& gamma, const Vector& beta) {
  const auto n = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (double v : x) mean += v / n;
  for (double v : x) variance += (v - mean) * (v - mean) / n;
  Vector y;
  for (std::size_t d = 0; d < x.size(); ++d)
    y.push_back((x[d] - mean) / std::sqrt(variance + 1e-5) * gamma[d] + beta[d]);
  return y;
}

/// W x + b, W [F][D].
inline Vector affine(const Matrix& w, const Vector& b, const Vector& x) {
  Vector y;
  for (std::size_t f = 0; f < w.size(); ++f) y.push_back(inner(w[f], x) + (b.empty() ? 0 : b[f]));
  return y;
}

inline Vector softmax_of(const Vector& y) {
  const double top = *std::max_element(y.begin(), y.end());
  double sum = 0;
  for (double v : y) sum += std::exp(v - top);
  Vector p;
  for (double v : y) p.push_back(std::exp(v - top) / sum);
  return p;
}

/// softmax([2 y, -2 y]).
inline Vector joint_hedgehog(const Vector& y) {
  Vector both;
  for (double factor : {2.0, -2.0})
    for (double v : y) both.push_back(factor * v);
  return softmax_of(both);
}

/// max([softmax(y), softmax(-y)], 1e-12).
inline Vector hedgehog(const Vector& y) {
  Vector out = softmax_of(y), minus;
  for (double v : y) minus.push_back(-v);
  for (double p : softmax_of(minus)) out.push_back(p);
  for (double& p : out) p = std::max(p, 1e-12);
  return out;
}

/// z_i z_{(i - j) mod 2 D} for j = 1 .. nu.
inline Vector dpfp(const Vector& x, std::size_t nu, bool second_negative) {
  Vector z = relu(x);
  for (double v : x) z.push_back(second_negative ? -std::max(v, 0.0) : std::max(-v, 0.0));
  Vector out;
  for (std::size_t j = 1; j <= nu; ++j)
    for (std::size_t i = 0; i < z.size(); ++i)
      out.push_back(z[i] * z[(i + nu * z.size() - j) % z.size()]);
  return out;
}

}  // namespace reference
