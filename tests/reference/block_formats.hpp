#pragma once

#include "reference/float_format.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

/// Numbers that share a scale, from their definitions: truth of quant/mx, quant/nf4 and
/// quant/ternary.
namespace reference {

/// One block of Microscaling. `exponent` is that of the format's largest number, floor(log2 max).
struct MxBlock {
  int exponent;                ///< of the common power of two
  std::vector<int> codes;      ///< [n]
  std::vector<double> values;  ///< [n]
};
inline MxBlock mx_block(const std::vector<double>& x, const SmallFloat& format, int exponent) {
  double most = 0;
  for (const double v : x) most = std::max(most, std::abs(v));
  MxBlock out{static_cast<int>(std::floor(std::log2(most))) - exponent, {}, {}};
  for (const double v : x) {
    const double scaled = std::ldexp(v, -out.exponent);
    const int size = std::min(nearest_code(std::abs(scaled), format), largest_code(format));
    out.codes.push_back(std::signbit(v) ? size + format.sign() : size);
    out.values.push_back(std::ldexp(value_of(out.codes.back(), format), out.exponent));
  }
  return out;
}

/// The value of a table that is nearest to x / absmax, times absmax.
inline double nearest_in_table(double x, double absmax, const std::vector<double>& table) {
  double best = table[0];
  for (const double v : table)
    if (std::abs(v * absmax - x) < std::abs(best * absmax - x)) best = v;
  return best * absmax;
}

/// The table of NF4 as published: arXiv:2305.14314, appendix E.
inline std::vector<double> nf4_table() {
  return {-1,
          -0.6961928009986877,
          -0.5250730514526367,
          -0.39491748809814453,
          -0.28444138169288635,
          -0.18477343022823334,
          -0.09105003625154495,
          0,
          0.07958029955625534,
          0.16093020141124725,
          0.24611230194568634,
          0.33791524171829224,
          0.44070982933044434,
          0.5626170039176941,
          0.7229568362236023,
          1};
}

/// Codes -1, 0, 1 of weights against their mean magnitude; ties to even, so half of it is 0.
struct Ternary {
  double gamma;
  std::vector<int> codes;
};
inline Ternary ternary(const std::vector<double>& w, double eps) {
  Ternary out{0, {}};
  for (const double v : w) out.gamma += std::abs(v) / static_cast<double>(w.size());
  for (const double v : w)
    out.codes.push_back(std::abs(v) <= (out.gamma + eps) / 2 ? 0 : v > 0 ? 1 : -1);
  return out;
}

}  // namespace reference
