#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Attention of one head through landmarks, projections, latents and channels, in double precision
/// and plain loops: truth of kernelized/linformer, kernelized/nystromformer, kernelized/soft,
/// kernelized/luna and kernelized/mdta.
namespace reference {

/// A matrix by rows.
struct Table {
  std::size_t rows = 0, cols = 0;
  std::vector<double> at;

  Table(std::size_t r, std::size_t c) : rows(r), cols(c), at(r * c, 0.0) {}
  Table(std::size_t r, std::size_t c, std::vector<double> values)
      : rows(r), cols(c), at(std::move(values)) {}
  double& operator()(std::size_t i, std::size_t j) { return at[i * cols + j]; }
  double operator()(std::size_t i, std::size_t j) const { return at[i * cols + j]; }
};

inline Table times(const Table& a, const Table& b) {
  Table c(a.rows, b.cols);
  for (std::size_t i = 0; i < a.rows; ++i)
    for (std::size_t k = 0; k < a.cols; ++k)
      for (std::size_t j = 0; j < b.cols; ++j) c(i, j) += a(i, k) * b(k, j);
  return c;
}

inline Table transposed(const Table& a) {
  Table t(a.cols, a.rows);
  for (std::size_t i = 0; i < a.rows; ++i)
    for (std::size_t j = 0; j < a.cols; ++j) t(j, i) = a(i, j);
  return t;
}

/// alpha a + beta b.
inline Table sum_of(double alpha, const Table& a, double beta, const Table& b) {
  Table c(a.rows, a.cols);
  for (std::size_t i = 0; i < c.at.size(); ++i) c.at[i] = alpha * a.at[i] + beta * b.at[i];
  return c;
}

inline Table unit(std::size_t n) {
  Table one(n, n);
  for (std::size_t i = 0; i < n; ++i) one(i, i) = 1;
  return one;
}

/// Rows of exp(scale a_i . b_j) over their sum; columns that `visible` marks with 0 get none.
inline Table softmax_of_products(const Table& a, const Table& b, double scale,
                                 const std::vector<int>& visible = {}) {
  Table w = times(a, transposed(b));
  for (std::size_t i = 0; i < w.rows; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < w.cols; ++j) {
      w(i, j) = visible.empty() || visible[j] != 0 ? std::exp(scale * w(i, j)) : 0;
      sum += w(i, j);
    }
    for (std::size_t j = 0; j < w.cols; ++j) w(i, j) /= sum;
  }
  return w;
}

inline Table zeroed(Table x, const std::vector<int>& visible) {
  for (std::size_t i = 0; !visible.empty() && i < x.rows; ++i)
    for (std::size_t j = 0; visible[i] == 0 && j < x.cols; ++j) x(i, j) = 0;
  return x;
}

/// softmax(s q (E k)^T) (F v).
inline Table linformer(const Table& q, const Table& k, const Table& v, const Table& e,
                       const Table& f, double scale, const std::vector<int>& visible = {}) {
  const Table keys = times(e, zeroed(k, visible)), values = times(f, zeroed(v, visible));
  return times(softmax_of_products(q, keys, scale), values);
}

/// Means of rows / m consecutive rows.
inline Table segment_means(const Table& x, std::size_t m) {
  Table means(m, x.cols);
  const std::size_t count = x.rows / m;
  for (std::size_t i = 0; i < x.rows; ++i)
    for (std::size_t j = 0; j < x.cols; ++j)
      means(i / count, j) += x(i, j) / static_cast<double>(count);
  return means;
}

inline double largest_row_sum(const Table& a) {
  double largest = 0;
  for (std::size_t i = 0; i < a.rows; ++i) {
    double sum = 0;
    for (std::size_t j = 0; j < a.cols; ++j) sum += std::abs(a(i, j));
    largest = std::max(largest, sum);
  }
  return largest;
}

/// out_r += sum_t w_t v_{r + t - size / 2}, zeros beyond the ends.
inline void add_sequence_conv(const std::vector<double>& w, const Table& v, Table& out) {
  for (std::size_t i = 0; i < v.rows; ++i)
    for (std::size_t t = 0; t < w.size(); ++t) {
      const std::size_t from = i + t, half = w.size() / 2;
      if (from < half || from - half >= v.rows) continue;
      for (std::size_t e = 0; e < v.cols; ++e) out(i, e) += w[t] * v(from - half, e);
    }
}

/// Fewer landmarks than tokens; the inverse begins with K2^T over its own largest sums.
inline Table nystromformer(const Table& q_, const Table& k_, const Table& v_, std::size_t m,
                           double scale, int iterations, const std::vector<double>& conv,
                           const std::vector<int>& visible = {}) {
  const Table q = zeroed(q_, visible), k = zeroed(k_, visible), v = zeroed(v_, visible);
  const Table ql = segment_means(q, m), kl = segment_means(k, m);
  const Table k2 = softmax_of_products(ql, kl, scale), one = unit(m);
  const double start = 1 / (largest_row_sum(k2) * largest_row_sum(transposed(k2)));
  Table z = sum_of(start, transposed(k2), 0, one);
  for (int i = 0; i < iterations; ++i) {
    const Table y = times(k2, z);
    const Table inner = sum_of(15, one, -1, times(y, sum_of(7, one, -1, y)));
    z = sum_of(0.25, times(z, sum_of(13, one, -1, times(y, inner))), 0, z);
  }
  const Table summary = times(softmax_of_products(ql, k, scale, visible), v);
  Table out = times(times(softmax_of_products(q, kl, scale), z), summary);
  add_sequence_conv(conv, v, out);
  return out;
}

/// exp(-|a_i - b_j|^2 / 2).
inline Table gaussian_kernel(const Table& a, const Table& b) {
  Table w(a.rows, b.rows);
  for (std::size_t i = 0; i < a.rows; ++i)
    for (std::size_t j = 0; j < b.rows; ++j) {
      double squares = 0;
      for (std::size_t d = 0; d < a.cols; ++d) squares += (a(i, d) - b(j, d)) * (a(i, d) - b(j, d));
      w(i, j) = std::exp(-squares / 2);
    }
  return w;
}

/// x scaled, landmarks given; `inverse` stands for that of gaussian_kernel(t, t).
inline Table soft(const Table& x, const Table& t, const Table& v, const Table& inverse) {
  const Table p = gaussian_kernel(x, t);
  return times(times(p, inverse), times(transposed(p), v));
}

/// gelu(LN(conv(x))) of x [rows columns, D] with weights [D, D, r, r], gamma 1 and beta 0.
inline Table soft_landmarks(const Table& x, std::size_t columns, std::size_t r,
                            const std::vector<double>& weight) {
  const std::size_t D = x.cols, across = columns / r, n = x.rows / (r * r);
  Table t(n, D);
  for (std::size_t l = 0; l < n; ++l) {
    double mean = 0, variance = 0;
    for (std::size_t o = 0; o < D; ++o) {
      for (std::size_t c = 0; c < D; ++c)
        for (std::size_t i = 0; i < r * r; ++i)
          t(l, o) += weight[(o * D + c) * r * r + i] *
                     x((l / across * r + i / r) * columns + l % across * r + i % r, c);
      mean += t(l, o) / static_cast<double>(D);
    }
    for (std::size_t o = 0; o < D; ++o)
      variance += (t(l, o) - mean) * (t(l, o) - mean) / static_cast<double>(D);
    for (std::size_t o = 0; o < D; ++o) {
      const double y = (t(l, o) - mean) / std::sqrt(variance + 1e-5);
      t(l, o) = y / 2 * std::erfc(-y / std::sqrt(2.0));
    }
  }
  return t;
}

/// Exact inverse by Gauss and Jordan with pivots.
inline Table inverse_of(Table a) {
  const std::size_t n = a.rows;
  Table x = unit(n);
  for (std::size_t c = 0; c < n; ++c) {
    std::size_t pivot = c;
    for (std::size_t i = c; i < n; ++i)
      if (std::abs(a(i, c)) > std::abs(a(pivot, c))) pivot = i;
    for (std::size_t j = 0; j < n; ++j) {
      std::swap(a(c, j), a(pivot, j));
      std::swap(x(c, j), x(pivot, j));
    }
    const double head = a(c, c);
    for (std::size_t j = 0; j < n; ++j) a(c, j) /= head, x(c, j) /= head;
    for (std::size_t i = 0; i < n; ++i) {
      const double factor = i == c ? 0 : a(i, c);
      for (std::size_t j = 0; j < n; ++j) a(i, j) -= factor * a(c, j), x(i, j) -= factor * x(c, j);
    }
  }
  return x;
}

/// packed, and what the queries read of it.
inline std::vector<Table> luna(const Table& p, const Table& q, const Table& k, const Table& v,
                               double scale) {
  const Table packed = times(softmax_of_products(p, k, scale), v);
  return {packed, times(softmax_of_products(q, packed, scale), packed)};
}

/// Channels attend to channels: q, k, v [c, n].
inline Table mdta(Table q, Table k, const Table& v, double temperature) {
  for (Table* x : {&q, &k})
    for (std::size_t i = 0; i < x->rows; ++i) {
      double squares = 0;
      for (std::size_t j = 0; j < x->cols; ++j) squares += (*x)(i, j) * (*x)(i, j);
      for (std::size_t j = 0; j < x->cols; ++j) (*x)(i, j) /= std::max(std::sqrt(squares), 1e-12);
    }
  return times(softmax_of_products(q, k, temperature), v);
}

}  // namespace reference
