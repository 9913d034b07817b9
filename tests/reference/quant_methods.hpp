#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Methods that prepare weights for quantization, from their definitions: truth of quant/awq,
/// quant/smoothquant, quant/qhyvit and quant/eqnet. Outputs of layers are computed, never X^T X.
namespace reference {

using Row = std::vector<double>;
using Matrix = std::vector<Row>;  ///< by rows

/// x [T][K] times w^T, w [R][K].
inline Matrix outputs(const Matrix& x, const Matrix& w) {
  Matrix y(x.size(), Row(w.size(), 0.0));
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t r = 0; r < w.size(); ++r)
      for (std::size_t k = 0; k < w[r].size(); ++k) y[t][r] += x[t][k] * w[r][k];
  return y;
}

inline Row part_of(const Row& row, std::size_t begin, std::size_t count) {
  const auto at = row.begin() + static_cast<std::ptrdiff_t>(begin);
  return {at, at + static_cast<std::ptrdiff_t>(count)};
}

// --- AWQ

/// A group, rounded with a zero point.
inline Row awq_round(const Row& w, int bits) {
  const double lo = *std::min_element(w.begin(), w.end());
  const double hi = *std::max_element(w.begin(), w.end());
  const double top = std::pow(2, bits) - 1, scale = std::max(hi - lo, 1e-5) / top;
  const double zero = std::clamp(-std::nearbyint(lo / scale), 0.0, top);
  Row out;
  for (const double v : w)
    out.push_back((std::clamp(std::nearbyint(v / scale) + zero, 0.0, top) - zero) * scale);
  return out;
}

inline Matrix awq_round(const Matrix& w, int bits, std::size_t group) {
  Matrix out;
  for (const Row& row : w) {
    out.emplace_back();
    for (std::size_t at = 0; at < row.size(); at += group)
      for (const double v : awq_round(part_of(row, at, group), bits)) out.back().push_back(v);
  }
  return out;
}

/// Scales of a ratio, from the mean magnitudes of x [T][K].
inline Row awq_scales(const Matrix& x, double ratio) {
  Row s(x.at(0).size(), 0.0);
  for (const Row& token : x)
    for (std::size_t k = 0; k < s.size(); ++k)
      s[k] += std::abs(token[k]) / static_cast<double>(x.size());
  for (double& v : s) v = std::max(std::pow(v, ratio), 1e-4);
  const double middle =
      std::sqrt(*std::max_element(s.begin(), s.end()) * *std::min_element(s.begin(), s.end()));
  for (double& v : s) v /= middle;
  return s;
}

/// mean((X W^T - X (pq(W s) / s)^T)^2) for weights stacked to one [R][K].
inline double awq_loss(const Matrix& x, const Matrix& w, const Row& s, int bits,
                       std::size_t group) {
  Matrix scaled = w;
  for (Row& row : scaled)
    for (std::size_t k = 0; k < s.size(); ++k) row[k] *= s[k];
  Matrix rounded = awq_round(scaled, bits, group);
  for (Row& row : rounded)
    for (std::size_t k = 0; k < s.size(); ++k) row[k] /= s[k];
  const Matrix a = outputs(x, w), b = outputs(x, rounded);
  double sum = 0;
  for (std::size_t t = 0; t < a.size(); ++t)
    for (std::size_t r = 0; r < w.size(); ++r) sum += (a[t][r] - b[t][r]) * (a[t][r] - b[t][r]);
  return sum / static_cast<double>(a.size() * w.size());
}

/// The best clip of one group of a row, w [g], for its part of the tokens [T][g].
inline double awq_clip(const Row& w, const Matrix& x, int bits, int grid) {
  double most = 0, best = 0, least = INFINITY;
  for (const double v : w) most = std::max(most, std::abs(v));
  for (int i = 0; i < grid / 2; ++i) {
    const double c = most * (1 - static_cast<double>(i) / grid);
    Row clamped = w;
    for (double& v : clamped) v = std::clamp(v, -c, c);
    const Matrix a = outputs(x, {w}), b = outputs(x, {awq_round(clamped, bits)});
    double error = 0;
    for (std::size_t t = 0; t < x.size(); ++t)
      error += (a[t][0] - b[t][0]) * (a[t][0] - b[t][0]) / static_cast<double>(x.size());
    if (error < least) {
      least = error;
      best = c;
    }
  }
  return best;
}

// --- SmoothQuant

inline double smoothquant_scale(double activation, double weight, double alpha) {
  return std::max(1e-5, std::pow(activation, alpha) / std::pow(std::max(1e-5, weight), 1 - alpha));
}

// --- Q-HyViT

struct QhyvitTruth {
  double error = 0;
  std::vector<int> index;
  Matrix weight;
};

/// Rows that share a grid, rounded by candidate i.
inline Matrix qhyvit_round(const Matrix& w, int i, bool symmetric, int bits) {
  double lo = 0, hi = 0;
  for (const Row& row : w)
    for (const double v : row) {
      lo = std::min(lo, v);
      hi = std::max(hi, v);
    }
  const double f = 0.01 + i * 1.19 / 100, half = std::pow(2, bits - 1);
  double scale =
      symmetric ? f * std::max(-lo, hi) / (half - 1) : (f * hi - f * lo) / (2 * half - 1);
  if (scale == 0) scale = 1;
  const double zero =
      symmetric ? 0 : std::clamp(std::nearbyint(-half - f * lo / scale), -half, half - 1);
  Matrix out = w;
  for (Row& row : out)
    for (double& v : row)
      v = scale * (std::clamp(std::nearbyint(v / scale) + zero, -half, half - 1) - zero);
  return out;
}

/// Part of the mean that the rows [first, first + v.size()) of w, replaced by v, give.
inline double qhyvit_error(const Matrix& w, const Matrix& v, std::size_t first, const Matrix& x,
                           const Matrix& g) {
  const Matrix a = outputs(x, w), b = outputs(x, v);
  double sum = 0;
  for (std::size_t t = 0; t < x.size(); ++t)
    for (std::size_t r = 0; r < v.size(); ++r) {
      const double e = a[t][first + r] - b[t][r];
      sum += g[t][first + r] * g[t][first + r] * e * e;
    }
  return sum / static_cast<double>(x.size() * w.size());
}

inline QhyvitTruth qhyvit(const Matrix& w, const Matrix& x, const Matrix& g, bool per_channel,
                          bool symmetric, int bits) {
  QhyvitTruth out;
  const std::size_t rows = per_channel ? 1 : w.size();
  for (std::size_t first = 0; first < w.size(); first += rows) {
    const auto at = w.begin() + static_cast<std::ptrdiff_t>(first);
    const Matrix part(at, at + static_cast<std::ptrdiff_t>(rows));
    double least = INFINITY;
    int best = 0;
    for (int i = 0; i < 100; ++i) {
      const double error = qhyvit_error(w, qhyvit_round(part, i, symmetric, bits), first, x, g);
      if (error < least) {
        least = error;
        best = i;
      }
    }
    out.error += least;
    out.index.push_back(best);
    for (const Row& row : qhyvit_round(part, best, symmetric, bits)) out.weight.push_back(row);
  }
  return out;
}

// --- EQ-Net

struct ElasticTruth {
  double scale = 1, beta = 0;
};

/// What a scale and an offset make of x; `added` is 1e-6 in use and 0 in the search.
inline double elastic_value(double x, ElasticTruth grid, double lo, double hi, double added) {
  const double s = grid.scale + added;
  return std::nearbyint(std::clamp((x - grid.beta) / s, lo, hi)) * s + grid.beta;
}

/// The search over x, a whole weight or one channel of it.
inline ElasticTruth elastic(const Row& x, int bits, bool symmetric, bool channel) {
  const double smallest = *std::min_element(x.begin(), x.end());
  const double largest = *std::max_element(x.begin(), x.end());
  const double lo = -std::pow(2, bits - 1), hi = -lo - 1;
  ElasticTruth best;
  double least = channel ? 100 : 1e5;
  for (int i = 0; i < (channel && symmetric ? 5 : 80); ++i) {
    const double p = 1 - i * 0.01, most = std::max(std::abs(smallest), std::abs(largest));
    const double from = symmetric ? -most * p : smallest * p,
                 to = symmetric ? most * p : largest * p;
    const double scale = (to - from) / (hi - lo);
    const ElasticTruth grid{scale, symmetric ? 0 : from - scale * lo};
    double error = 0;
    for (const double v : x)
      error += std::pow(std::abs(v - elastic_value(v, grid, lo, hi, 0)), 2.4) /
               static_cast<double>(x.size());
    if (error < least) {
      least = error;
      best = grid;
    }
  }
  return best;
}

}  // namespace reference
