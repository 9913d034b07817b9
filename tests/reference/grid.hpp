#pragma once

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <vector>

/// Scores and convolutions over tokens on a grid, token i at y = i / columns, x = i % columns, in
/// double precision and plain loops: truth of softmax/gaussian_mixture_mask, softmax/rmt_masa,
/// softmax/rmt_decay, softmax/lepe, softmax/cpe.
namespace reference {

struct Grid {
  std::size_t rows, columns;

  std::size_t tokens() const { return rows * columns; }
  double y(std::size_t i) const { return static_cast<double>(i / columns); }
  double x(std::size_t i) const { return static_cast<double>(i % columns); }
};

/// G[h, i, j] = sum_k alpha[k, h] exp(-dist2 / (2 (sigma[k, h]^2 + 1e-5))), [H, N, N]
inline std::vector<double> gaussian_mixture(const Grid& grid, const std::vector<double>& alpha,
                                            const std::vector<double>& sigma, std::size_t heads) {
  const std::size_t n = grid.tokens();
  std::vector<double> mask(heads * n * n, 0.0);
  for (std::size_t h = 0; h < heads; ++h)
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t k = h; k < alpha.size(); k += heads) {  // alpha[k, h]
          const double dy = grid.y(i) - grid.y(j), dx = grid.x(i) - grid.x(j);
          const double width = sigma[k] * sigma[k] + 1e-5;
          mask[(h * n + i) * n + j] += alpha[k] * std::exp(-(dy * dy + dx * dx) / (2 * width));
        }
  return mask;
}

/// ln gamma_h of RMT: ln(1 - 2^(-initial - range h / H)), [H]
inline std::vector<double> manhattan_decay(std::size_t heads, double initial, double range) {
  std::vector<double> decay;
  for (std::size_t h = 0; h < heads; ++h)
    decay.push_back(std::log(
        1 - std::pow(2.0, -initial - range * static_cast<double>(h) / static_cast<double>(heads))));
  return decay;
}

/// decay_h (along_y |dy| + along_x |dx|), [H, N, N]; tokens of another row (along_y = 0) or column
/// (along_x = 0) are told to be invisible by the number `hidden`.
inline std::vector<double> manhattan_bias(const Grid& grid, const std::vector<double>& decay,
                                          bool along_y, bool along_x, double hidden) {
  const std::size_t n = grid.tokens();
  std::vector<double> bias;
  for (const double per_step : decay)
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        const double dy = std::abs(grid.y(i) - grid.y(j)), dx = std::abs(grid.x(i) - grid.x(j));
        const bool seen = (along_y || dy == 0) && (along_x || dx == 0);
        bias.push_back(seen ? per_step * (dy + dx) : hidden);
      }
  return bias;
}

/// Depthwise cross-correlation of x [rows, columns, C] with w [C, k, k] and bias [C], zeros beyond
/// the borders.
inline std::vector<double> depthwise_conv(const Grid& grid, const std::vector<double>& x,
                                          const std::vector<double>& w,
                                          const std::vector<double>& bias, std::size_t k) {
  const auto rows = static_cast<std::ptrdiff_t>(grid.rows);
  const auto columns = static_cast<std::ptrdiff_t>(grid.columns);
  const auto half = static_cast<std::ptrdiff_t>(k / 2), size = static_cast<std::ptrdiff_t>(k);
  const std::size_t channels = bias.size();
  std::vector<double> y;
  for (std::ptrdiff_t r = 0; r < rows; ++r)
    for (std::ptrdiff_t c = 0; c < columns; ++c)
      for (std::size_t d = 0; d < channels; ++d) {
        double sum = bias[d];
        for (std::ptrdiff_t i = 0; i < size; ++i)
          for (std::ptrdiff_t j = 0; j < size; ++j) {
            const std::ptrdiff_t at_r = r + i - half, at_c = c + j - half;
            if (at_r < 0 || at_r >= rows || at_c < 0 || at_c >= columns) continue;
            const auto token = static_cast<std::size_t>(at_r * columns + at_c);
            sum += w[(d * k + static_cast<std::size_t>(i)) * k + static_cast<std::size_t>(j)] *
                   x[token * channels + d];
          }
        y.push_back(sum);
      }
  return y;
}

}  // namespace reference
