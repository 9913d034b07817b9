#pragma once

#include <weft/core/gemm.hpp>
#include <weft/core/tensor.hpp>
#include <weft/quant/affine.hpp>
#include <weft/quant/channel_scale.hpp>
#include <weft/quant/doubles.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

/// SmoothQuant: moves the difficulty of quantizing from activations to weights (SmoothQuant:
/// Accurate and Efficient Post-Training Quantization for Large Language Models, arXiv 2211.10438).
///
///   a_j = max |X[:, j]| over calibration tokens
///   w_j = max(1e-5, max |W[:, j]|) over all linear layers that read the channel
///   s_j = max(1e-5, a_j^alpha / w_j^(1 - alpha))
///
/// Dividing what produces X by s and multiplying the columns of the weights by it (see
/// channel_scale.hpp) leaves the outputs as they are; then a_j / s_j = w_j s_j for alpha = 1/2.
/// alpha = 0 makes all columns of weights alike, alpha = 1 all channels of activations. A channel
/// that was 0 in calibration gets the least scale, 1e-5.
///
/// `Int8Rows` is the quantizer that goes with it: scale = max(1e-5, max |x|) / 127, code = rint(x /
/// scale), per token and per output channel, or with one scale for all. Time O(T K + R K).
namespace weft::quant {

/// s [K] from a and the largest |W[:, j]|, both [K] and >= 0. Throws where the sizes differ and
/// where alpha is not in [0, 1].
inline Tensor<double, 1> smoothquant_scales(View<const double, 1> activations,
                                            View<const double, 1> weights, double alpha = 0.5) {
  const Index K = activations.extent(0);
  require(weights.extent(0) == K, "smoothquant_scales: ", K, " channels of activations, ",
          weights.extent(0), " of weights");
  require(alpha >= 0 && alpha <= 1, "smoothquant_scales: alpha is ", alpha, "; wanted 0 to 1");
  Tensor<double, 1> s({K});
  for (Index j = 0; j < K; ++j) {
    require(std::isfinite(activations(j)) && activations(j) >= 0 && std::isfinite(weights(j)),
            "smoothquant_scales: the magnitudes of channel ", j, " are ", activations(j), " and ",
            weights(j));
    const double w = std::max(weights(j), 1e-5);
    s(j) = std::max(std::pow(activations(j), alpha) / std::pow(w, 1 - alpha), 1e-5);
  }
  return s;
}

/// Rows of int8 codes. scale has one entry per row, or one.
struct Int8Rows {
  Tensor<std::int8_t, 2> codes;
  Tensor<double, 1> scale;

  double scale_of(Index row) const noexcept { return scale(scale.size() == 1 ? 0 : row); }
};

enum class Int8Scale { row, tensor };

/// Codes of tokens [T, K] or of weights [R, K]. Throws on numbers that are not finite.
inline Int8Rows quantize_int8_rows(View<const double, 2> x, Int8Scale per = Int8Scale::row) {
  require_finite("x", x);
  const Index rows = x.extent(0), cols = x.extent(1);
  Tensor<double, 1> most({per == Int8Scale::row ? rows : Index{1}});
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < cols; ++c) {
      double& m = most(per == Int8Scale::row ? r : 0);
      m = std::max(m, std::abs(x(r, c)));
    }
  Int8Rows out{Tensor<std::int8_t, 2>({rows, cols}), std::move(most)};
  for (double& s : out.scale.span()) s = std::max(s, 1e-5) / 127;
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < cols; ++c)
      out.codes(r, c) = static_cast<std::int8_t>(round_half_even(x(r, c) / out.scale_of(r)));
  return out;
}

/// y[t, r] = scale scale' sum_k x[t, k] w[r, k]: what integer kernels compute, here to simulate.
template <class A = DefaultArch>
Tensor<double, 2> int8_rows_product(const Int8Rows& x, const Int8Rows& w,
                                    const Context& ctx = Context{}) {
  require(x.codes.extent(1) == w.codes.extent(1), "int8_rows_product: x is ", x.codes.view(),
          ", the weight is ", w.codes.view());
  const Tensor<double, 2> left = doubles(x.codes.view()), right = doubles(w.codes.view());
  Tensor<double, 2> y({left.extent(0), right.extent(0)});
  gemm<A>(left, right.view().transpose(0, 1), y, ctx);  // exact: integers below 2^53
  for (Index t = 0; t < y.extent(0); ++t)
    for (Index r = 0; r < y.extent(1); ++r) y(t, r) *= x.scale_of(t) * w.scale_of(r);
  return y;
}

}  // namespace weft::quant
