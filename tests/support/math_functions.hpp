#pragma once

#include "reference/elementwise.hpp"
#include <weft/core/math.hpp>

#include <array>
#include <cmath>

/// The vector functions of core/math.hpp with their references and documented errors: what the
/// tests sample and `weft_ulp` sweeps.
template <class T, class Wide>
struct MathFunction {
  using Element = T;
  using V = weft::Vec<T>;

  const char* name;
  V (*value)(V);
  Wide (*reference)(Wide);
  Wide from, to;       ///< the inputs whose results are not limits; `weft_ulp` tries all others too
  double fma_bound;    ///< ulp, where multiply-add rounds once
  double plain_bound;  ///< ulp, where it rounds twice
  bool nonpositive_only = false;
};
using FloatFunction = MathFunction<float, double>;
using DoubleFunction = MathFunction<double, long double>;

// The power of two of softmax is 0 below -100.5 (double: -900.5).
inline double reference_exp2_nonpositive(double x) { return x < -100.5 ? 0 : std::exp2(x); }
inline long double reference_exp2_nonpositive_wide(long double x) {
  return x < -900.5L ? 0 : std::exp2(x);
}
inline double reference_sigmoid2(double x) { return x < -100.5 ? 0 : 1 / (1 + std::exp2(-x)); }
inline long double reference_sigmoid2_wide(long double x) {
  return x < -900.5L ? 0 : 1 / (1 + std::exp2(-x));
}

inline constexpr std::array<FloatFunction, 14> kFloatFunctions = [] {
  using V = FloatFunction::V;
  namespace math = weft::math;
  using namespace reference;
  return std::array<FloatFunction, 14>{{
      {"exp", [](V x) { return math::exp(x); }, exp<double>, -105, 90, 1, 1.5},
      {"exp2", [](V x) { return math::exp2(x); }, exp2<double>, -151, 129, 1, 1.5},
      {"exp2_nonpositive", [](V x) { return math::exp2_nonpositive(x); },
       reference_exp2_nonpositive, -102, 0, 2, 2.5, true},
      {"log", [](V x) { return math::log(x); }, log<double>, 0, 4, 1, 1},
      {"tanh", [](V x) { return math::tanh(x); }, tanh<double>, -10, 10, 1.5, 1.5},
      {"tanh_quotient", [](V x) { return math::tanh_quotient(x); }, tanh<double>, -10, 10, 4.5, 7},
      {"erf", [](V x) { return math::erf(x); }, erf<double>, -4, 4, 1, 1.5},
      {"sigmoid", [](V x) { return math::sigmoid(x); }, sigmoid<double>, -105, 20, 2, 2},
      {"sigmoid2", [](V x) { return math::sigmoid2(x); }, reference_sigmoid2, -102, 30, 4, 5},
      {"softplus", [](V x) { return math::softplus(x); }, softplus<double>, -105, 20, 2, 2},
      {"relu", [](V x) { return math::relu(x); }, relu<double>, -1, 1, 0, 0},
      {"silu", [](V x) { return math::silu(x); }, silu<double>, -110, 20, 3, 3},
      {"gelu_erf", [](V x) { return math::gelu_erf(x); }, gelu_erf<double>, -15, 10, 4, 6},
      {"gelu_tanh", [](V x) { return math::gelu_tanh(x); }, gelu_tanh<double>, -12, 10, 3, 120},
  }};
}();

inline constexpr std::array<DoubleFunction, 13> kDoubleFunctions = [] {
  using V = DoubleFunction::V;
  using Wide = long double;
  namespace math = weft::math;
  using namespace reference;
  return std::array<DoubleFunction, 13>{{
      {"exp", [](V x) { return math::exp(x); }, exp<Wide>, -750, 715, 1, 1.5},
      {"exp2", [](V x) { return math::exp2(x); }, exp2<Wide>, -1080, 1030, 1, 1.5},
      {"exp2_nonpositive", [](V x) { return math::exp2_nonpositive(x); },
       reference_exp2_nonpositive_wide, -902, 0, 3, 3, true},
      {"log", [](V x) { return math::log(x); }, log<Wide>, 0, 4, 1, 1},
      {"tanh", [](V x) { return math::tanh(x); }, tanh<Wide>, -22, 22, 1.5, 1.5},
      {"erf", [](V x) { return math::erf(x); }, erf<Wide>, -7, 7, 1, 1.5},
      {"sigmoid", [](V x) { return math::sigmoid(x); }, sigmoid<Wide>, -750, 40, 2.5, 2.5},
      {"sigmoid2", [](V x) { return math::sigmoid2(x); }, reference_sigmoid2_wide, -902, 60, 4, 5},
      {"softplus", [](V x) { return math::softplus(x); }, softplus<Wide>, -750, 40, 2, 2},
      {"relu", [](V x) { return math::relu(x); }, relu<Wide>, -1, 1, 0, 0},
      {"silu", [](V x) { return math::silu(x); }, silu<Wide>, -760, 40, 3, 3},
      {"gelu_erf", [](V x) { return math::gelu_erf(x); }, gelu_erf<Wide>, -39, 10, 5, 8},
      {"gelu_tanh", [](V x) { return math::gelu_tanh(x); }, gelu_tanh<Wide>, -22, 10, 3.5, 1200},
  }};
}();
