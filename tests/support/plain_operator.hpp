#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>

/// An operator as simple as the concept allows: three loops, and no epilogues.
struct PlainOperator {
  weft::Tensor<float, 2> weight;

  explicit PlainOperator(weft::Tensor<float, 2> w) : weight(std::move(w)) {}

  weft::Index rows() const { return weight.extent(0); }
  weft::Index cols() const { return weight.extent(1); }

  void apply(weft::View<const float, 2> x, weft::View<float, 2> y, const weft::Context&) const {
    for (weft::Index n = 0; n < x.extent(0); ++n)
      for (weft::Index r = 0; r < rows(); ++r) {
        double sum = 0;
        for (weft::Index c = 0; c < cols(); ++c) sum += double{weight(r, c)} * double{x(n, c)};
        y(n, r) = static_cast<float>(sum);
      }
  }
};
