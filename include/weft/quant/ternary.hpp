#pragma once

#include <weft/core/tensor.hpp>
#include <weft/quant/rounding.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

/// Ternary weights of BitNet b1.58 (The Era of 1-bit LLMs: All Large Language Models are in 1.58
/// Bits, arXiv:2402.17764).
///
///   gamma = mean |W|,   code = clamp(rint(W / (gamma + eps)), -1, 1),   W ~ gamma code
///
/// One scale for the whole matrix. The mean is summed in double. eps = 1e-5 keeps a matrix of zeros
/// from dividing by zero; published programs differ in its size.
namespace weft::quant {

struct TernaryMatrix {
  Tensor<std::int8_t, 2> codes;  ///< -1, 0, 1
  float scale;                   ///< gamma
};

/// w of any strides. Throws when eps is negative and on numbers that are not finite.
inline TernaryMatrix quantize_ternary(View<const float, 2> w, double eps = 1e-5) {
  require(eps >= 0 && std::isfinite(eps), "quantize_ternary: eps is ", eps, "; wanted 0 or more");
  double sum = 0;
  for (Index r = 0; r < w.extent(0); ++r)
    for (Index c = 0; c < w.extent(1); ++c) {
      require(std::isfinite(w(r, c)), "quantize_ternary: w(", r, ", ", c, ") is ", w(r, c));
      sum += std::abs(double{w(r, c)});
    }
  const double gamma = w.empty() ? 0 : sum / static_cast<double>(w.size());
  const double divisor = gamma + eps > 0 ? gamma + eps : 1;
  TernaryMatrix out{Tensor<std::int8_t, 2>(w.shape()), static_cast<float>(gamma)};
  for (Index r = 0; r < w.extent(0); ++r)
    for (Index c = 0; c < w.extent(1); ++c)
      out.codes(r, c) =
          static_cast<std::int8_t>(std::clamp(round_half_even(w(r, c) / divisor), -1., 1.));
  return out;
}

/// The numbers that the codes stand for. Throws when the shapes differ.
inline void dequantize(const TernaryMatrix& q, View<float, 2> to) {
  require(to.shape() == q.codes.shape(), "dequantize: out is ", to, ", the codes are ",
          q.codes.view());
  for (Index r = 0; r < to.extent(0); ++r)
    for (Index c = 0; c < to.extent(1); ++c) to(r, c) = q.scale * q.codes(r, c);
}

}  // namespace weft::quant
