#pragma once

#include <weft/core/tensor.hpp>

#include <cmath>

/// What methods that run once, before a model is used, compute in.
namespace weft::quant {

/// A matrix in double precision, any strides.
template <ViewLike<2> X>
Tensor<double, 2> doubles(const X& matrix) {
  const auto x = view_of(matrix);
  Tensor<double, 2> out({x.extent(0), x.extent(1)});
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c) out(r, c) = static_cast<double>(x(r, c));
  return out;
}

/// And in single precision again.
inline Tensor<float, 2> floats(const Tensor<double, 2>& x) {
  Tensor<float, 2> out(x.shape());
  for (Index i = 0; i < x.size(); ++i) out.data()[i] = static_cast<float>(x.data()[i]);
  return out;
}

/// Throws, naming the argument, where a number is not finite: there is no scale for it, and sums
/// over calibration data would spread it everywhere.
template <ViewLike<2> X>
void require_finite(const char* name, const X& matrix) {
  const auto x = view_of(matrix);
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c)
      require(std::isfinite(x(r, c)), name, "(", r, ", ", c, ") is ", x(r, c),
              "; wanted finite numbers");
}

/// Both.
template <ViewLike<2> X>
Tensor<double, 2> finite_doubles(const char* name, const X& x) {
  require_finite(name, x);
  return doubles(x);
}

}  // namespace weft::quant
