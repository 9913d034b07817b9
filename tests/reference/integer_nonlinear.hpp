#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

/// Softmax, GELU and LayerNorm of integers with 64-bit integers, step by step as I-BERT (arXiv
/// 2101.01321) and FQ-ViT (arXiv 2111.13824) write them. Shares no code with the library.
///
/// Truth of quant/integer_softmax, quant/log_int_softmax, quant/integer_gelu,
/// quant/integer_layer_norm.
namespace reference {

using Integers = std::vector<std::int64_t>;

/// Quotient rounded towards minus infinity.
inline std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  const std::int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

/// i-exp of n <= 0. Scales above 1e-4: else 64 bits do not hold it.
inline std::int64_t integer_exp(std::int64_t n, double scale) {
  const auto x0 = static_cast<std::int64_t>(std::floor(-0.6931 / scale));
  const auto b = static_cast<std::int64_t>(std::floor(0.96963238 / 0.35815147 / scale));
  const auto c = static_cast<std::int64_t>(std::floor(1 / 0.35815147 / (scale * scale)));
  const std::int64_t d = std::max(n, 30 * x0);
  const std::int64_t q = d / x0, r = d - x0 * q;
  const std::int64_t z = r * (r + b) + c;
  return std::max<std::int64_t>(0, z << (30 - q));
}

/// e of the visible scores less their largest; 0 elsewhere.
inline Integers integer_exps(const Integers& x, const std::vector<bool>& visible, double scale) {
  std::int64_t largest = INT64_MIN;
  for (std::size_t j = 0; j < x.size(); ++j)
    if (visible[j]) largest = std::max(largest, x[j]);
  Integers e(x.size(), 0);
  for (std::size_t j = 0; j < x.size(); ++j)
    if (visible[j]) e[j] = integer_exp(x[j] - largest, scale);
  return e;
}

/// Codes of I-BERT's softmax, of step 2^-bits. `step`: of the 16-bit exponentials.
inline Integers integer_softmax(const Integers& x, const std::vector<bool>& visible, double scale,
                                int bits, double step) {
  const double exp_scale = 0.35815147 * scale * scale / std::ldexp(1.0, 30);
  Integers e = integer_exps(x, visible, scale);
  std::int64_t sum = 0;
  for (std::int64_t& v : e) {
    const double code = std::nearbyint(static_cast<double>(v) * exp_scale / step);
    v = static_cast<std::int64_t>(std::min(code, 32766.0));
    sum += v;
  }
  if (sum == 0) return e;
  const std::int64_t factor = (std::int64_t{1} << 32) / sum;
  for (std::int64_t& v : e) v = (v * factor) >> (32 - bits);
  return e;
}

/// Codes of FQ-ViT's softmax, of 2^-code; 2^bits where nothing is left.
inline Integers log_integer_softmax(const Integers& x, const std::vector<bool>& visible,
                                    double scale, int bits) {
  Integers e = integer_exps(x, visible, scale);
  long double sum = 0;
  for (const std::int64_t v : e) sum += static_cast<long double>(v);
  for (std::int64_t& v : e) {
    if (v == 0) {
      v = std::int64_t{1} << bits;
      continue;
    }
    const long double ratio = std::nearbyint(sum / static_cast<long double>(v));
    std::int64_t power = 0;
    while (std::ldexp(1.0L, static_cast<int>(power) + 1) <= ratio) ++power;
    const long double binade = std::ldexp(1.0L, static_cast<int>(power));
    if (ratio - binade >= binade / 2) ++power;
    v = std::min(power, std::int64_t{1} << bits);
  }
  return e;
}

/// I-BERT's GELU of one integer, in units of scale * (-0.2888 s1^2 2^14) / 2.
inline std::int64_t integer_gelu(std::int64_t x, double scale) {
  const double s1 = scale / 1.4142;
  const auto b = static_cast<std::int64_t>(std::floor(-1.769 / s1));
  const auto c = static_cast<std::int64_t>(std::floor(1 / -0.2888 / (s1 * s1)));
  const std::int64_t sign = x > 0 ? 1 : x < 0 ? -1 : 0;
  const std::int64_t end = std::min(std::abs(x), -b) + b;
  const std::int64_t y = floor_div(sign * (end * end + c), 1 << 14);
  const double erf_scale = -0.2888 * s1 * s1 * (1 << 14);
  return x * (y + static_cast<std::int64_t>(std::floor(1 / erf_scale)));
}

struct IntegerNorm {
  std::int64_t mean = 0, std = 0, factor = 0;
  Integers n;
};

/// I-BERT's LayerNorm before its affine part.
inline IntegerNorm integer_norm(const Integers& x, int shift) {
  IntegerNorm out;
  std::int64_t sum = 0, squares = 0;
  for (const std::int64_t v : x) sum += v;
  out.mean = static_cast<std::int64_t>(
      std::nearbyint(static_cast<double>(sum) / static_cast<double>(x.size())));
  for (const std::int64_t v : x) {
    const std::int64_t y = (v - out.mean) >> shift;
    squares += y * y;
  }
  while ((out.std + 1) * (out.std + 1) <= squares) ++out.std;
  out.std <<= shift;
  out.factor = out.std == 0 ? 0 : (std::int64_t{1} << 31) / out.std;
  for (const std::int64_t v : x) out.n.push_back(((v - out.mean) * out.factor) >> 1);
  return out;
}

}  // namespace reference
