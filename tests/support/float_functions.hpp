#pragma once

#include <weft/core/math.hpp>

#include "reference/elementwise.hpp"

#include <array>

/// The vector functions of core/math.hpp with their references, domains and documented errors: what
/// the tests sample and `weft_ulp` sweeps.
struct FloatFunction {
  using V = weft::Vec<float>;

  const char* name;
  V (*value)(V);
  double (*reference)(double);
  bool nonpositive_only;
  double fma_bound;    ///< ulp, where multiply-add rounds once
  double plain_bound;  ///< ulp, where it rounds twice
};

// Below -126 the power of two of softmax may be flushed; -126.5 is the last that is not.
inline double reference_exp2_nonpositive(double x) { return x < -126.5 ? 0 : std::exp2(x); }

inline constexpr std::array<FloatFunction, 12> kFloatFunctions{{
    {"exp", [](FloatFunction::V x) { return weft::math::exp(x); }, reference::exp<double>, false, 1,
     1},
    {"exp2", [](FloatFunction::V x) { return weft::math::exp2(x); }, reference::exp2<double>, false,
     1, 1},
    {"exp2_nonpositive", [](FloatFunction::V x) { return weft::math::exp2_nonpositive(x); },
     reference_exp2_nonpositive, true, 2, 2},
    {"log", [](FloatFunction::V x) { return weft::math::log(x); }, reference::log<double>, false, 1,
     1},
    {"tanh", [](FloatFunction::V x) { return weft::math::tanh(x); }, reference::tanh<double>, false,
     2, 2},
    {"erf", [](FloatFunction::V x) { return weft::math::erf(x); }, reference::erf<double>, false, 2,
     2},
    {"sigmoid", [](FloatFunction::V x) { return weft::math::sigmoid(x); },
     reference::sigmoid<double>, false, 2, 2},
    {"softplus", [](FloatFunction::V x) { return weft::math::softplus(x); },
     reference::softplus<double>, false, 3, 3},
    {"relu", [](FloatFunction::V x) { return weft::math::relu(x); }, reference::relu<double>, false,
     0, 0},
    {"silu", [](FloatFunction::V x) { return weft::math::silu(x); }, reference::silu<double>, false,
     4, 4},
    {"gelu_erf", [](FloatFunction::V x) { return weft::math::gelu_erf(x); },
     reference::gelu_erf<double>, false, 4, 4},
    {"gelu_tanh", [](FloatFunction::V x) { return weft::math::gelu_tanh(x); },
     reference::gelu_tanh<double>, false, 4, 4},
}};
