#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/gemm.hpp>
#include <weft/core/tensor.hpp>
#include <weft/quant/doubles.hpp>

#include <algorithm>

/// Squared errors of a linear layer's outputs without the outputs: for a change D of the weight,
///
///   sum over tokens x and outputs r of (x . D[r])^2  =  sum_r D[r] G D[r]^T,    G = sum x^T x
///
/// Many changes are compared at 2 R C^2 operations each, however many tokens there are.
namespace weft::quant {

/// G += X^T X for tokens X [T, C], which are finite. G [C, C], rows without gaps.
template <class A = DefaultArch>
void add_gram(View<const float, 2> x, View<double, 2> gram, const Context& ctx = Context{}) {
  constexpr Index kRows = 512;  // in double precision at a time
  for (Index t = 0; t < x.extent(0); t += kRows) {
    const auto rows = doubles(x.slice(0, t, std::min(kRows, x.extent(0) - t)));
    gemm<A>(rows.view().transpose(0, 1), rows, gram, AddResidual{gram}, ctx);
  }
}

/// D[r] G D[r]^T for every row of D [R, C].
template <class A = DefaultArch>
Tensor<double, 1> squared_outputs(View<const double, 2> change, View<const double, 2> gram,
                                  const Context& ctx = Context{}) {
  Tensor<double, 2> product({change.extent(0), change.extent(1)});
  gemm<A>(change, gram, product, ctx);
  Tensor<double, 1> sums({change.extent(0)});
  for (Index r = 0; r < change.extent(0); ++r)
    for (Index c = 0; c < change.extent(1); ++c) sums(r) += change(r, c) * product(r, c);
  return sums;
}

}  // namespace weft::quant
