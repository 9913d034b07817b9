#pragma once

#include "reference/feature_maps.hpp"

#include <functional>

/// Linear attention of images in double precision, as sums over all pairs of tokens of one image.
/// Shares no code with the library.
///
/// Truth of linear/slab_sla, linear/flatten_focused, linear/inline_attention, linear/essa.
namespace reference {

/// Channels [first, first + n) of every token: one head.
inline Matrix head_of(const Matrix& x, std::size_t first, std::size_t n) {
  Matrix out;
  for (const Vector& row : x) {
    const auto begin = row.begin() + static_cast<std::ptrdiff_t>(first);
    out.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(n));
  }
  return out;
}

inline Matrix plus(const Matrix& x, const Matrix& y) {
  Matrix out = x;
  for (std::size_t i = 0; i < x.size(); ++i)
    for (std::size_t c = 0; c < x[i].size(); ++c) out[i][c] += y[i][c];
  return out;
}

/// out_i = sum_j w_ij v_j, w a function of (i, j).
inline Matrix weighted(std::size_t queries, const Matrix& v,
                       const std::function<double(std::size_t, std::size_t)>& w) {
  Matrix out;
  for (std::size_t i = 0; i < queries; ++i) {
    Vector sum(v[0].size(), 0.0);
    for (std::size_t j = 0; j < v.size(); ++j)
      for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += w(i, j) * v[j][e];
    out.push_back(sum);
  }
  return out;
}

/// f of each head of `heads`, side by side again.
inline Matrix by_heads(
    std::size_t heads, const Matrix& q, const Matrix& k, const Matrix& v,
    const std::function<Matrix(const Matrix&, const Matrix&, const Matrix&)>& f) {
  const std::size_t n = q[0].size() / heads;
  Matrix out(q.size());
  for (std::size_t h = 0; h < heads; ++h) {
    const Matrix part = f(head_of(q, h * n, n), head_of(k, h * n, n), head_of(v, h * n, n));
    for (std::size_t i = 0; i < q.size(); ++i)
      out[i].insert(out[i].end(), part[i].begin(), part[i].end());
  }
  return out;
}

/// SLAB, eq. 5: relu on both sides, sum of weights + 1e-6.
inline Matrix simplified(const Matrix& q, const Matrix& k, const Matrix& v) {
  Vector den(q.size(), 1e-6);
  for (std::size_t i = 0; i < q.size(); ++i)
    for (const Vector& kj : k) den[i] += inner(relu(q[i]), relu(kj));
  return weighted(q.size(), v, [&](std::size_t i, std::size_t j) {
    return inner(relu(q[i]), relu(k[j])) / den[i];
  });
}

/// FLatten, eq. 6-8: the power keeps the length of a token over all of its channels.
inline Vector focused(Vector x, const Vector& scale, int power) {
  double length = 0, powers = 0;
  for (std::size_t c = 0; c < x.size(); ++c) {
    x[c] = (std::max(x[c], 0.0) + 1e-6) / std::log1p(std::exp(scale[c]));
    length += x[c] * x[c];
    powers += std::pow(x[c], 2 * power);
  }
  for (double& v : x) v = std::pow(v, power) * std::sqrt(length / powers);
  return x;
}

/// Weights over their mean + 1e-6, divided by the number of keys.
inline Matrix mean_normalised(const Matrix& q, const Matrix& k, const Matrix& v) {
  const auto n = static_cast<double>(k.size());
  Vector den(q.size(), 1e-6);
  for (std::size_t i = 0; i < q.size(); ++i)
    for (const Vector& kj : k) den[i] += inner(q[i], kj) / n;
  return weighted(q.size(), v,
                  [&](std::size_t i, std::size_t j) { return inner(q[i], k[j]) / den[i] / n; });
}

/// InLine, eq. 10: logits minus their mean plus one, over the number of keys.
inline Matrix injective(const Matrix& q, const Matrix& k, const Matrix& v) {
  const auto n = static_cast<double>(k.size());
  const double scale = 1 / std::sqrt(static_cast<double>(q[0].size()));
  Vector mean(q.size(), 0.0);
  for (std::size_t i = 0; i < q.size(); ++i)
    for (const Vector& kj : k) mean[i] += scale * inner(q[i], kj) / n;
  return weighted(q.size(), v, [&](std::size_t i, std::size_t j) {
    return (scale * inner(q[i], k[j]) - mean[i] + 1) / n;
  });
}

/// Squares of centred channels, over their sum + 1e-7.
inline Vector spectrum(Vector x) {
  double mean = 0, sum = 1e-7;
  for (double v : x) mean += v / static_cast<double>(x.size());
  for (double v : x) sum += (v - mean) * (v - mean);
  for (double& v : x) v = (v - mean) * (v - mean) / sum;
  return x;
}

/// ESSA: rows of q and channels of k of length one, 1 / sqrt(N), plus v.
inline Matrix spectral(Matrix q, Matrix k, const Matrix& v) {
  Vector channel(k[0].size(), 0.0);
  for (Vector& x : q) {
    x = spectrum(x);
    const double length = std::max(std::sqrt(inner(x, x)), 1e-12);
    for (double& c : x) c /= length;
  }
  for (Vector& x : k) {
    x = spectrum(x);
    for (std::size_t c = 0; c < x.size(); ++c) channel[c] += x[c] * x[c];
  }
  for (Vector& x : k)
    for (std::size_t c = 0; c < x.size(); ++c) x[c] /= std::max(std::sqrt(channel[c]), 1e-12);
  const double root = std::sqrt(static_cast<double>(q.size()));
  return plus(v, weighted(q.size(), v,
                          [&](std::size_t i, std::size_t j) { return inner(q[i], k[j]) / root; }));
}

/// Depthwise convolution of an image of rows of `columns` tokens by w[c][i][j], zeros beyond.
inline Matrix depthwise(const Matrix& x, std::size_t columns, std::size_t size,
                        const std::function<double(std::size_t, std::size_t, std::size_t)>& w) {
  const auto side = static_cast<long>(columns), rows = static_cast<long>(x.size()) / side;
  const long half = static_cast<long>(size) / 2;
  Matrix out(x.size(), Vector(x[0].size(), 0.0));
  for (long r = 0; r < rows; ++r)
    for (long s = 0; s < side; ++s)
      for (long i = -half; i <= half; ++i)
        for (long j = -half; j <= half; ++j) {
          if (r + i < 0 || r + i >= rows || s + j < 0 || s + j >= side) continue;
          for (std::size_t c = 0; c < x[0].size(); ++c)
            out[static_cast<std::size_t>(r * side + s)][c] +=
                w(c, static_cast<std::size_t>(i + half), static_cast<std::size_t>(j + half)) *
                x[static_cast<std::size_t>((r + i) * side + s + j)][c];
        }
  return out;
}

}  // namespace reference
