#pragma once

#include <algorithm>
#include <cmath>

/// The functions of core/math.hpp in a wider type than the one under test (double for float, long
/// double for double), written so that they stay accurate where their results are small.
namespace reference {

template <class Real>
Real exp(Real x) {
  return std::exp(x);
}
template <class Real>
Real exp2(Real x) {
  return std::exp2(x);
}
template <class Real>
Real log(Real x) {
  return std::log(x);
}
template <class Real>
Real tanh(Real x) {
  return std::tanh(x);
}
template <class Real>
Real erf(Real x) {
  return std::erf(x);
}
template <class Real>
Real relu(Real x) {
  return x < 0 ? Real(0) : x;
}
template <class Real>
Real sigmoid(Real x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}
template <class Real>
Real softplus(Real x) {
  return x < 0 ? std::log1p(std::exp(x)) : x + std::log1p(std::exp(-x));
}

// x times a factor that vanishes faster than x grows.
template <class Real>
Real gated(Real x, Real factor) {
  return factor == 0 ? Real(0) : x * factor;
}
template <class Real>
Real silu(Real x) {
  return gated(x, sigmoid(x));
}
template <class Real>
Real gelu_erf(Real x) {
  return gated(x, std::erfc(-x / std::sqrt(Real(2))) / 2);
}
// (1 + tanh(u)) / 2 = sigmoid(2 u)
template <class Real>
Real gelu_tanh(Real x) {
  const Real pi = Real(3.14159265358979323846264338327950288L);
  const Real u = std::sqrt(2 / pi) * (x + Real(0.044715L) * x * x * x);
  return gated(x, sigmoid(2 * u));
}

}  // namespace reference
