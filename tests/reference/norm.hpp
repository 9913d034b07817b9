#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

/// Normalisations of one row of D channels in double precision; weight and bias are [D] or empty.
/// Truth of layer/layer_norm, layer/rms_norm, layer/layer_norm_scaling, layer/adaptive_norm,
/// layer/prep_bn, softmax/qk_norm, and with reference/linear.hpp of linear/transnormer.
namespace reference {

using Row = std::vector<double>;

inline Row affine(Row row, const Row& weight, const Row& bias) {
  for (std::size_t d = 0; d < row.size(); ++d) {
    if (!weight.empty()) row[d] *= weight[d];
    if (!bias.empty()) row[d] += bias[d];
  }
  return row;
}

/// (x - mean) / sqrt(variance + eps), with the biased variance.
inline Row layer_norm(Row x, double eps, const Row& weight = {}, const Row& bias = {}) {
  const auto count = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (double v : x) mean += v / count;
  for (double v : x) variance += (v - mean) * (v - mean) / count;
  for (double& v : x) v = (v - mean) / std::sqrt(variance + eps);
  return affine(x, weight, bias);
}

/// x / sqrt(mean(x^2) + eps).
inline Row rms_norm(Row x, double eps, const Row& weight = {}) {
  double square = 0;
  for (double v : x) square += v * v / static_cast<double>(x.size());
  for (double& v : x) v /= std::sqrt(square + eps);
  return affine(x, weight, {});
}

/// x / (rms(x) + eps).
inline Row simple_rms_norm(Row x, double eps) {
  double square = 0;
  for (double v : x) square += v * v / static_cast<double>(x.size());
  for (double& v : x) v /= std::sqrt(square) + eps;
  return x;
}

/// Batch normalisation of one number by running statistics, plus alpha times itself.
inline double rep_batch_norm(double x, double gamma, double beta, double mean, double variance,
                             double alpha) {
  return (x - mean) / std::sqrt(variance + 1e-5) * gamma + beta + alpha * x;
}

/// x / max(|x|, floor).
inline Row l2_norm(Row x, double floor) {
  double square = 0;
  for (double v : x) square += v * v;
  for (double& v : x) v /= std::fmax(std::sqrt(square), floor);
  return x;
}

}  // namespace reference
