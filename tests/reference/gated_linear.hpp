#pragma once

#include "reference/image_attention.hpp"

#include <complex>

/// Gated units with attention in double precision, one sequence, as sums over pairs of tokens.
/// Shares no code with the library.
///
/// Truth of linear/gau, linear/flash, linear/mossformer, linear/herseg_dla.
namespace reference {

inline double logistic(double x) { return 1 / (1 + std::exp(-x)); }

inline Vector silu(Vector x) {
  for (double& v : x) v *= logistic(v);
  return x;
}

inline Vector times(Vector x, const Vector& y) {
  for (std::size_t c = 0; c < x.size(); ++c) x[c] *= y[c];
  return x;
}

/// A linear layer.
struct Dense {
  Matrix w;
  Vector b;
  Vector operator()(const Vector& x) const { return affine(w, b, x); }
};

/// FLASH, eq. 6-8: squared ReLU within groups, linear attention over all tokens or the groups
/// before.
inline Matrix joint_attention(const Matrix& q, const Matrix& k, const Matrix& q2, const Matrix& k2,
                              const Matrix& v, std::size_t group, bool causal, std::size_t visible,
                              const std::function<double(long)>& bias) {
  const auto g = static_cast<double>(group), n = static_cast<double>(q.size());
  return weighted(q.size(), v, [&](std::size_t i, std::size_t j) {
    if (j >= visible) return 0.0;
    double weight = 0;
    if (i / group == j / group && (!causal || j <= i)) {
      const double s =
          std::max(inner(q[i], k[j]) / g + bias(static_cast<long>(j) - static_cast<long>(i)), 0.0);
      weight += s * s;
    }
    if (!causal) weight += inner(q2[i], k2[j]) / n;
    if (causal && j / group < i / group) weight += inner(q2[i], k2[j]) / g;
    return weight;
  });
}

/// GAU of normalised rows x: the result before the residual. f is a function of the logit.
inline Matrix gated_unit(const Matrix& x, const Dense& hidden, const Dense& shared,
                         const Dense& out, const Matrix& gamma, const Matrix& beta, bool causal,
                         const std::function<double(long)>& bias,
                         const std::function<double(double)>& f) {
  Matrix q, k, v, gate;
  for (const Vector& row : x) {
    const Vector h = silu(hidden(row)), z = silu(shared(row));
    const auto half = h.begin() + static_cast<std::ptrdiff_t>(h.size() / 2);
    v.emplace_back(h.begin(), half);
    gate.emplace_back(half, h.end());
    q.push_back(times(z, gamma[0]));
    k.push_back(times(z, gamma[1]));
    for (std::size_t c = 0; c < z.size(); ++c) {
      q.back()[c] += beta[0][c];
      k.back()[c] += beta[1][c];
    }
  }
  const auto n = static_cast<double>(x.size());
  Matrix y = weighted(x.size(), v, [&](std::size_t i, std::size_t j) {
    if (causal && j > i) return 0.0;
    return f((inner(q[i], k[j]) + bias(static_cast<long>(j) - static_cast<long>(i))) / n);
  });
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = out(times(y[i], gate[i]));
  return y;
}

/// Channels in pairs as complex numbers, the first half turned by the row of the token, the second
/// by its column.
inline Vector turned(const Vector& x, double row, double column) {
  const std::size_t quarter = x.size() / 4;
  Vector y(x.size());
  for (std::size_t p = 0; p < 2 * quarter; ++p) {
    const double rate = std::pow(1e4, -static_cast<double>(p % quarter) / double(quarter));
    const std::complex<double> z(x[2 * p], x[2 * p + 1]);
    const auto t = z * std::polar(1.0, (p < quarter ? row : column) * rate);
    y[2 * p] = t.real();
    y[2 * p + 1] = t.imag();
  }
  return y;
}

/// HER-Seg before its convolution: q, k of elu + 1, weights turned, denominators not.
inline Matrix dual_gated(const Matrix& q, const Matrix& k, const Matrix& v, std::size_t columns,
                         std::size_t heads) {
  Matrix turned_q, turned_k, out(q.size());
  for (std::size_t i = 0; i < q.size(); ++i) {
    const auto row = static_cast<double>(i / columns), column = static_cast<double>(i % columns);
    turned_q.push_back(turned(q[i], row, column));
    turned_k.push_back(turned(k[i], row, column));
  }
  const std::size_t d = q[0].size() / heads;
  const auto n = static_cast<double>(q.size());
  for (std::size_t h = 0; h < heads; ++h) {
    const auto own = [&](const Matrix& x) { return head_of(x, h * d, d); };
    const Matrix a = own(q), b = own(k), c = own(turned_q), e = own(turned_k);
    Vector den(q.size(), 1e-6);
    for (std::size_t i = 0; i < q.size(); ++i)
      for (const Vector& kj : b) den[i] += inner(a[i], kj) / n;
    const Matrix part = weighted(q.size(), own(v), [&](std::size_t i, std::size_t j) {
      return inner(c[i], e[j]) / n / den[i];
    });
    for (std::size_t i = 0; i < q.size(); ++i)
      out[i].insert(out[i].end(), part[i].begin(), part[i].end());
  }
  return out;
}

}  // namespace reference
