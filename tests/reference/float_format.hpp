#pragma once

#include <cmath>
#include <limits>

/// Small floating-point formats by their definition: truth of quant/fp8. Shares nothing with the
/// library.
namespace reference {

/// What the codes of the largest exponent are: numbers, numbers and one NaN, or as in IEEE 754.
enum class TopCodes { numbers, one_nan, ieee };

struct SmallFloat {
  int exponent_bits, mantissa_bits, bias;
  TopCodes top;

  int sign() const { return 1 << (exponent_bits + mantissa_bits); }
};

inline double value_of(int code, const SmallFloat& f) {
  const int size = code % f.sign(), steps = 1 << f.mantissa_bits;
  const int e = size / steps, m = size % steps;
  const bool last_exponent = e == (1 << f.exponent_bits) - 1;
  double value = e == 0 ? std::ldexp(double(m) / steps, 1 - f.bias)
                        : std::ldexp(1 + double(m) / steps, e - f.bias);
  if (last_exponent && f.top == TopCodes::ieee) value = m == 0 ? HUGE_VAL : std::nan("");
  if (last_exponent && f.top == TopCodes::one_nan && m == steps - 1) value = std::nan("");
  return code < f.sign() ? value : -value;
}

/// The largest magnitude that is a number.
inline int largest_code(const SmallFloat& f) {
  int code = f.sign() - 1;
  while (!std::isfinite(value_of(code, f))) --code;
  return code;
}

/// The code of the number nearest to x, on ties the even one, by bisection of all magnitudes.
/// Numbers of at least half a step beyond the largest get the next code.
inline int nearest_code(double x, const SmallFloat& f) {
  const int top = largest_code(f);
  const double size = std::abs(x), largest = value_of(top, f);
  const double step = largest - value_of(top - 1, f);
  int code = 0, end = top + 1;
  while (end - code > 1) {
    const int middle = (code + end) / 2;
    (value_of(middle, f) <= size ? code : end) = middle;
  }
  const double below = size - value_of(code, f);
  const double above = (code == top ? largest + step : value_of(code + 1, f)) - size;
  if (below > above || (below == above && code % 2 == 1)) ++code;
  return std::signbit(x) ? code + f.sign() : code;
}

}  // namespace reference
