#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// Range setting of Quantizable Transformers (arXiv 2306.12929) in double precision. Shares no code
/// with the library.
///
/// Truth of quant/w8a8.
namespace reference {

/// Largest and smallest of x are what stands at p and 100 - p percent of the sorted numbers.
inline double percentile(std::vector<double> x, double percent) {
  std::sort(x.begin(), x.end());
  const double at = static_cast<double>(x.size() - 1) * percent / 100;
  const auto i = static_cast<std::size_t>(std::floor(at));
  const double next = i + 1 < x.size() ? x[i + 1] : x[i];
  return x[i] + (at - std::floor(at)) * (next - x[i]);
}

/// Squared error of weights that are clipped at `clip` and have 2^bits signed codes.
inline double clip_error(const std::vector<double>& w, double clip, int bits) {
  const double top = std::ldexp(1.0, bits - 1), step = clip / (top - 1);
  double sum = 0;
  for (const double v : w) {
    const double code = std::min(std::max(std::nearbyint(v / step), -top), top - 1);
    sum += (v - code * step) * (v - code * step);
  }
  return sum;
}

}  // namespace reference
