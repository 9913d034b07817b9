#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

/// Truth of quant/gptq: one column after the other, all later columns updated at once, H inverted
/// by elimination.
namespace reference {

using Rows = std::vector<std::vector<double>>;

struct GptqCase {
  int bits = 4;
  bool symmetric = false, shrink = false;
  std::size_t group = 0;  ///< 0: the whole row
  bool static_groups = false, order = false;
  double damping = 0.01;
  std::size_t block = 128;
};

struct GptqTruth {
  Rows weight, codes;  ///< [R][C]
  std::vector<std::size_t> group_of;
  double loss = 0;
};

/// 2 / n sum x x^T over all tokens of n sequences [n][T][C].
inline Rows gptq_hessian(const std::vector<Rows>& x) {
  const std::size_t C = x.at(0).at(0).size();
  Rows h(C, std::vector<double>(C, 0.0));
  for (const Rows& sequence : x)
    for (const auto& token : sequence)
      for (std::size_t i = 0; i < C; ++i)
        for (std::size_t j = 0; j < C; ++j)
          h[i][j] += 2.0 / static_cast<double>(x.size()) * token[i] * token[j];
  return h;
}

/// Gauss-Jordan elimination without pivoting, for positive definite matrices.
inline Rows inverse(Rows a) {
  const std::size_t n = a.size();
  Rows b(n, std::vector<double>(n, 0.0));
  for (std::size_t i = 0; i < n; ++i) b[i][i] = 1;
  for (std::size_t p = 0; p < n; ++p)
    for (std::size_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const double f = a[i][p] / a[p][p];
      for (std::size_t j = 0; j < n; ++j) {
        a[i][j] -= f * a[p][j];
        b[i][j] -= f * b[p][j];
      }
    }
  for (std::size_t i = 0; i < n; ++i)
    for (double& v : b[i]) v /= a[i][i];
  return b;
}

/// U of U^T U = a, upper triangular.
inline Rows upper_cholesky(const Rows& a) {
  const std::size_t n = a.size();
  Rows u(n, std::vector<double>(n, 0.0));
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) {
      double sum = a[i][j];
      for (std::size_t k = 0; k < i; ++k) sum -= u[k][i] * u[k][j];
      u[i][j] = i == j ? std::sqrt(sum) : sum / u[i][i];
    }
  return u;
}

/// Scale and zero of some weights.
struct GptqLevels {
  double scale, zero, top;
  double code(double w) const { return std::clamp(std::nearbyint(w / scale) + zero, 0.0, top); }
  double value(double w) const { return scale * (code(w) - zero); }
};

inline GptqLevels gptq_levels(const std::vector<double>& w, const GptqCase& c) {
  double lo = 0, hi = 0;
  for (const double v : w) {
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  if (c.symmetric) {
    hi = std::max(-lo, hi);
    if (lo < 0) lo = -hi;
  }
  if (lo == hi) {
    lo = -1;
    hi = 1;
  }
  const double top = std::pow(2, c.bits) - 1;
  GptqLevels best{};
  double least = INFINITY;
  for (int i = 0; i < (c.shrink ? 80 : 1); ++i) {
    const double p = 1 - i / 100.0, scale = (p * hi - p * lo) / top;
    const GptqLevels levels{scale, c.symmetric ? (top + 1) / 2 : std::nearbyint(-(p * lo) / scale),
                            top};
    double error = 0;
    for (const double v : w) error += std::pow(std::abs(levels.value(v) - v), 2.4);
    if (error < least) {
      least = error;
      best = levels;
    }
  }
  return best;
}

/// w [R][C], h [C][C] not damped.
inline GptqTruth gptq(Rows w, Rows h, const GptqCase& options) {
  const std::size_t R = w.size(), C = h.size(), G = options.group == 0 ? C : options.group;
  const auto levels_of = [&](const Rows& from, std::size_t r, std::size_t begin) {
    const auto at = [&](std::size_t i) { return from[r].begin() + static_cast<std::ptrdiff_t>(i); };
    return gptq_levels({at(begin), at(std::min(begin + G, C))}, options);
  };
  std::vector<std::vector<GptqLevels>> levels(R, std::vector<GptqLevels>(C));
  const auto fit_all = [&] {
    for (std::size_t r = 0; r < R; ++r)
      for (std::size_t c = 0; c < C; ++c) levels[r][c] = levels_of(w, r, c / G * G);
  };
  if (options.group == 0) fit_all();
  for (std::size_t c = 0; c < C; ++c) {
    if (h[c][c] != 0) continue;
    h[c][c] = 1;
    for (auto& row : w) row[c] = 0;
  }
  const bool dynamic = options.group != 0 && !options.static_groups;
  if (!dynamic && options.group != 0) fit_all();

  std::vector<std::size_t> order(C);
  std::iota(order.begin(), order.end(), 0u);
  if (options.order)
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return h[a][a] > h[b][b]; });
  double mean = 0;
  for (std::size_t c = 0; c < C; ++c) mean += h[c][c] / static_cast<double>(C);
  Rows a(C, std::vector<double>(C)), current(R, std::vector<double>(C));
  for (std::size_t i = 0; i < C; ++i)
    for (std::size_t j = 0; j < C; ++j)
      a[i][j] = h[order[i]][order[j]] + (i == j ? options.damping * mean : 0);
  for (std::size_t r = 0; r < R; ++r)
    for (std::size_t j = 0; j < C; ++j) current[r][j] = w[r][order[j]];
  const Rows u = upper_cholesky(inverse(a));

  GptqTruth out{Rows(R, std::vector<double>(C)), Rows(R, std::vector<double>(C)), {}, 0};
  out.group_of.resize(C);
  Rows before_block;
  for (std::size_t j = 0; j < C; ++j) {
    const std::size_t c = order[j];
    out.group_of[c] = (dynamic ? j : c) / G;
    if (j % options.block == 0) before_block = current;
    for (std::size_t r = 0; r < R; ++r) {
      // Dynamic levels are kept by position, others by column.
      if (dynamic && j % G == 0)
        std::fill_n(levels[r].begin() + static_cast<std::ptrdiff_t>(j), std::min(G, C - j),
                    levels_of(before_block, r, j));
      const GptqLevels& grid = levels[r][dynamic ? j : c];
      out.codes[r][c] = grid.code(current[r][j]);
      out.weight[r][c] = grid.value(current[r][j]);
      const double e = (current[r][j] - out.weight[r][c]) / u[j][j];
      for (std::size_t i = j; i < C; ++i) current[r][i] -= e * u[j][i];
      out.loss += e * e / 2;
    }
  }
  return out;
}

}  // namespace reference
