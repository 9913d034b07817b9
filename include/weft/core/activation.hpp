#pragma once

#include <weft/core/math.hpp>

/// Activation functions as types: stateless functions of a register, for the places that take one
/// as a template parameter, such as the epilogue Activate<F> and the feed-forward layers. Equations
/// and errors are those of the functions in core/math.hpp.
namespace weft {

struct Identity {
  template <class V>
  V operator()(V x) const noexcept {
    return x;
  }
};

struct Relu {
  template <class V>
  V operator()(V x) const noexcept {
    return math::relu(x);
  }
};

struct Tanh {
  template <class V>
  V operator()(V x) const noexcept {
    return math::tanh(x);
  }
};

/// x for x > 0, else exp(x) - 1.
struct Elu {
  template <class V>
  V operator()(V x) const noexcept {
    const V zero(0);
    return xsimd::select(x > zero, x, math::exp(xsimd::select(x > zero, zero, x)) - V(1));
  }
};

/// Elu + 1 > 0, without the rounding of Elu near -1.
struct EluPlusOne {
  template <class V>
  V operator()(V x) const noexcept {
    const V zero(0);
    return xsimd::select(x > zero, x + V(1), math::exp(xsimd::select(x > zero, zero, x)));
  }
};

struct Sigmoid {
  template <class V>
  V operator()(V x) const noexcept {
    return math::sigmoid(x);
  }
};

struct Softplus {
  template <class V>
  V operator()(V x) const noexcept {
    return math::softplus(x);
  }
};

/// x sigmoid(x), also called swish.
struct Silu {
  template <class V>
  V operator()(V x) const noexcept {
    return math::silu(x);
  }
};

/// x Phi(x), with the normal distribution function Phi.
struct GeluErf {
  template <class V>
  V operator()(V x) const noexcept {
    return math::gelu_erf(x);
  }
};

/// The approximation of GeluErf by a tanh.
struct GeluTanh {
  template <class V>
  V operator()(V x) const noexcept {
    return math::gelu_tanh(x);
  }
};

}  // namespace weft
