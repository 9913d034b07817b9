#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// The quantizers of RepQ-ViT (arXiv 2212.08254) in double precision, as its paper writes them.
/// Shares no code with the library.
///
/// Truth of quant/repq_vit.
namespace reference {

/// The p-quantile with linear interpolation.
inline double quantile(std::vector<double> x, double p) {
  std::sort(x.begin(), x.end());
  const double at = p * static_cast<double>(x.size() - 1);
  const double low = x[static_cast<std::size_t>(std::floor(at))];
  const double high = x[static_cast<std::size_t>(std::ceil(at))];
  return low + (high - low) * (at - std::floor(at));
}

struct UniformGrid {
  double s = 0, z = 0;
  int bits = 8;

  double code(double x) const {
    return std::min(std::max(std::nearbyint(x / s) + z, 0.0), std::ldexp(1.0, bits) - 1);
  }
  double value(double x) const { return (code(x) - z) * s; }
};

template <class Value>
double total_squared_error(const std::vector<double>& x, Value value) {
  double sum = 0;
  for (const double v : x) sum += (v - value(v)) * (v - value(v));
  return sum;
}

/// The best of the grids between three pairs of percentiles.
inline UniformGrid percentile_grid(const std::vector<double>& x, int bits) {
  UniformGrid best;
  double least = INFINITY;
  for (const double p : {0.999, 0.9999, 0.99999}) {
    const double lo = quantile(x, 1 - p), hi = quantile(x, p);
    const double s = (hi - lo) / (std::ldexp(1.0, bits) - 1);
    const UniformGrid grid{s, std::nearbyint(-lo / s), bits};
    const double error = total_squared_error(x, [&](double v) { return grid.value(v); });
    if (error < least) {
      least = error;
      best = grid;
    }
  }
  return best;
}

/// Code of a probability by logarithm; 2^bits is 0.
inline int log_sqrt2_code(double p, double delta, int bits) {
  const double code = std::nearbyint(-2 * std::log2(p / delta));
  return static_cast<int>(std::min(std::max(code, 0.0), std::ldexp(1.0, bits)));
}

inline double log_sqrt2_value(int code, double delta, int bits) {
  return code >= (1 << bits) ? 0 : delta * std::exp2(-code / 2.0);
}

}  // namespace reference
