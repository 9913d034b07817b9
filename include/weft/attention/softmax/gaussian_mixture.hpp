#pragma once

#include <weft/attention/softmax/grid_score.hpp>

#include <cmath>
#include <limits>

namespace weft {

/// Gaussian mixture mask (RetNet Viewed through Convolution, arXiv:2309.05375):
///
///   G[h, i, j] = sum_k alpha[k, h] exp(-dist2_ij / (2 (sigma[k, h]^2 + 1e-5)))
///   out        = softmax((scale q k^T) * G) v                       element-wise product
///
/// with dist2 the squared distance of two tokens on a grid of rows x columns in raster order. Use:
///
///   const auto table = gaussian_mixture_table(alpha, sigma, rows, columns);
///   forward(Softmax{NoMask{}, GridFactor{table.view()}}, q, k, v, out);
///
/// alpha and sigma are [K, H]. The mask multiplies the logits, so that G = 1 is plain attention and
/// G = 0 the mean of the values. The published code raises exp(-dist2) to a power, which underflows
/// in float once dist2 exceeds 103; the closed form above does not. Throws when shapes disagree or
/// the grid is empty. Time O(K H rows columns^2), once per set of parameters.
template <ViewLike<2> Alpha, ViewLike<2> Sigma>
auto gaussian_mixture_table(const Alpha& weights, const Sigma& widths, Index rows, Index columns) {
  const auto alpha = view_of(weights);
  const auto sigma = view_of(widths);
  using T = typename decltype(alpha)::value_type;
  require(alpha.shape() == sigma.shape(), "gaussian_mixture_table: alpha is ", alpha, ", sigma ",
          sigma, "; both are [K, H]");
  const auto mixture = [&](Index h, Index dy, Index dx) {
    const auto dist2 = static_cast<double>(dy * dy + dx * dx);
    double sum = 0;
    for (Index k = 0; k < alpha.extent(0); ++k) {
      const auto width = static_cast<double>(sigma(k, h));
      sum += static_cast<double>(alpha(k, h)) * std::exp(-dist2 / (2 * (width * width + 1e-5)));
    }
    // So small a number changes no logit, but its products would be denormal, which is slow.
    constexpr double negligible = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
    return std::abs(sum) < negligible ? 0.0 : sum;
  };
  return grid_table<T>(alpha.extent(1), rows, columns, mixture);
}

}  // namespace weft
