#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// The quantizer of LLM-FP4 (arXiv 2310.16836) in double precision, with the paper's symbols.
/// Shares no code with the library.
///
/// Truth of quant/llm_fp4.
namespace reference {

/// E exponent bits, M mantissa bits, real bias b.
inline double real_bias_value(double x, int E, int M, double b) {
  const double largest = (2 - std::exp2(-M)) * std::exp2(std::exp2(E) - 1 - b);
  const double y = std::min(std::max(x, -largest), largest);
  const double l = y == 0 ? 1 : std::max(std::floor(std::log2(std::abs(y)) + b), 1.0);
  const double s = std::exp2(l - M - b);
  return std::nearbyint(y / s) * s;
}

/// The bias whose largest value is absmax.
inline double min_max_exponent_bias(double absmax, int E, int M) {
  return std::exp2(E) - std::log2(absmax) + std::log2(2 - std::exp2(-M)) - 1;
}

/// Pre-shifted bias of a channel of bias b, for the tensor bias rho.
inline double pre_shifted_bias(double b, double rho, int E) {
  const double low = std::nearbyint(rho);
  return rho + std::min(std::max(std::nearbyint(b), low), low + std::exp2(E) - 1) - low;
}

}  // namespace reference
