#pragma once

#include <weft/core/epilogue.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>

/// What all operators on quantized weights do before they multiply.
namespace weft::quant::detail {

/// The two forms of `apply` of an operator `Self` with rows(), cols() and
///
///   multiply(x, y, epilogue, ctx)   y = epilogue(x W^T), called when the shapes fit and y is not
///                                   empty, within a frame of scratch memory
///
/// Both throw weft::error, before y is touched, where shapes do not fit or rows of x have gaps.
template <class Self, class A>
class OperatorVerbs {
 public:
  template <class X, class Y>
  void apply(View<X, 2> x, View<Y, 2> y, const Context& ctx = Context{}) const {
    apply(x, y, NoEpilogue{}, ctx);
  }

  template <class X, class Y, Epilogue<float, A> E>
  void apply(View<X, 2> x, View<Y, 2> y, const E& epilogue, const Context& ctx = Context{}) const {
    const Self& self = static_cast<const Self&>(*this);
    const Index rows = self.rows(), cols = self.cols();
    require(x.extent(1) == cols && y.extent(1) == rows && x.extent(0) == y.extent(0),
            "operator of ", rows, " rows and ", cols, " columns: x is ", x, ", y is ", y,
            "; wanted [n, ", cols, "] and [n, ", rows, "]");
    require(x.extent(1) <= 1 || x.stride(1) == 1, "operator: rows of x have stride ", x.stride(1),
            ", wanted 1");
    weft::detail::check_epilogue(epilogue, y.extent(0), y.extent(1));
    if (y.empty()) return;
    Arena::Frame frame(ctx.arena());
    self.multiply(View<const std::remove_const_t<X>, 2>(x), y, epilogue, ctx);
  }
};

/// Calls multiply with the epilogue behind the addition of a bias, if there is one.
template <class E, class Multiply>
void with_bias(const Tensor<float, 1>& bias, const E& epilogue, const Multiply& multiply) {
  if (bias.size() == 0)
    multiply(epilogue);
  else
    multiply(Then{Bias{bias.view()}, epilogue});
}

}  // namespace weft::quant::detail
