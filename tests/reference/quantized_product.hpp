#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

/// Products of quantized operands one element at a time, in integers and doubles.
/// [quant/int8_dynamic] [quant/llm_int8] [quant/int4_exact] [quant/int4_int8]
namespace reference {

using Row = std::vector<double>;

/// The symmetric 8-bit codes of a row whose grid reaches up to `largest`, as doubles.
inline Row int8_codes(const Row& x, double largest) {
  Row codes(x.size(), 0.0);
  if (largest > 0)
    for (std::size_t k = 0; k < x.size(); ++k) codes[k] = std::nearbyint(x[k] / (largest / 127));
  return codes;
}

inline double largest_magnitude(const Row& x) {
  double largest = 0;
  for (const double v : x) largest = std::fmax(largest, std::abs(v));
  return largest;
}

inline double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (std::size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  return sum;
}

/// x . w with both on their own 8-bit grids; columns with an |x| of at least `threshold` (in any
/// row: `outlier` says which) multiply x itself. Threshold 0: none.
inline double int8_product(const Row& x, const Row& w, const std::vector<bool>& outlier,
                           double threshold = 0) {
  Row below = x, kept = x;
  for (std::size_t k = 0; k < x.size(); ++k) {
    if (threshold > 0 && std::abs(x[k]) >= threshold) below[k] = 0;
    if (outlier[k]) kept[k] = 0;
  }
  const double x_largest = largest_magnitude(below), w_largest = largest_magnitude(w);
  const Row w_codes = int8_codes(w, w_largest);
  double sum = dot(int8_codes(kept, x_largest), w_codes) * x_largest / 127;
  for (std::size_t k = 0; k < x.size(); ++k)
    if (outlier[k]) sum += x[k] * w_codes[k];
  return sum * w_largest / 127;
}

}  // namespace reference
