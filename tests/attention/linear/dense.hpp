#pragma once

#include "attention/linear/images.hpp"
#include "reference/gated_linear.hpp"
#include <weft/layer/operator.hpp>

namespace linear_cases {

using weft::DenseOperator;
using weft::Index;
using weft::Tensor;

/// A linear layer as the library and the reference want it.
struct Layer {
  Tensor<double, 2> w;
  Tensor<double, 1> b;

  Layer(Index out, Index in, std::uint64_t seed)
      : w(even_values<double, 2>({out, in}, seed)), b(even_values<double, 1>({out}, seed + 1)) {}

  DenseOperator<double> op() const { return DenseOperator<double>(w.view(), b.view()); }
  reference::Dense dense() const {
    return {images::tokens_of(weft::unsqueeze(w.view()), 0), doubles_of(b.view())};
  }
};

}  // namespace linear_cases
