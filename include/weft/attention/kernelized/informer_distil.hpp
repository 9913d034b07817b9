#pragma once

#include <weft/attention/kernelized/few_keys.hpp>
#include <weft/core/math.hpp>

#include <cmath>

namespace weft {

/// Self-attention distilling of Informer (arXiv:2012.07436): halves a sequence between layers.
///
///   y   = elu(batch_norm(conv(x)))            3 taps, the sequence closed to a ring
///   out = max over windows of 3, step 2       -inf beyond the ends
///
/// x [B, N, C], out [B, ceil(L / 2), C'], L = N + 2 padding - 2 the length of y. `weight`
/// [C', C, 3] and `bias` [C']; the norm is that of inference, (y - mean) / sqrt(variance + eps)
/// gamma + beta, all [C'], and is folded into the weights. `padding` is 1, or 2 as with PyTorch
/// before 1.5. Elements fp32 or fp64, one type for all. Throws where shapes do not fit. Time
/// O(B N C C'), scratch memory O(N (C + C') + C C').
template <class T = float>
struct InformerDistil {
  View<const T, 3> weight;
  View<const T, 1> bias, gamma, beta, mean, variance;
  Index padding = 1;
  double eps = 1e-5;

  Index output_length(Index tokens) const noexcept { return (tokens + 2 * padding - 1) / 2; }
};

namespace detail {

/// x where positive, else exp(x) - 1.
struct Elu {
  template <class V>
  V operator()(V x) const noexcept {
    using T = typename V::value_type;
    return xsimd::select(x > V(T(0)), x, math::exp(x) - V(T(1)));
  }
};

/// Weights [C', 3 C], tap by tap, and biases of the convolution and the norm behind it.
template <class T>
void fold_distil(const InformerDistil<T>& layer, const View<T, 2>& weight, T* bias) {
  const Index inputs = layer.weight.extent(1);
  for (Index o = 0; o < weight.extent(0); ++o) {
    const double factor = static_cast<double>(layer.gamma(o)) /
                          std::sqrt(static_cast<double>(layer.variance(o)) + layer.eps);
    bias[o] = static_cast<T>(
        factor * (static_cast<double>(layer.bias(o)) - static_cast<double>(layer.mean(o))) +
        static_cast<double>(layer.beta(o)));
    for (Index t = 0; t < 3; ++t)
      for (Index i = 0; i < inputs; ++i)
        weight(o, t * inputs + i) =
            static_cast<T>(factor * static_cast<double>(layer.weight(o, i, t)));
  }
}

/// out_i = max of y_{2 i - 1}, y_{2 i}, y_{2 i + 1}, what there is of them.
template <class A, class T>
void pool_rows(const View<const T, 2>& y, const View<T, 2>& out) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index i = 0; i < out.extent(0); ++i) {
    const Index first = std::max<Index>(2 * i - 1, 0), last = std::min(2 * i + 1, y.extent(0) - 1);
    for (Index c = 0; c < y.extent(1); c += W) {
      const Index lanes = std::min(W, y.extent(1) - c);
      auto largest = load_partial<A>(y.pointer(first) + c, lanes);
      for (Index n = first + 1; n <= last; ++n)
        largest = xsimd::max(load_partial<A>(y.pointer(n) + c, lanes), largest);
      store_partial<A>(out.pointer(i) + c, largest, lanes);
    }
  }
}

template <class T>
void check_distil(const InformerDistil<T>& layer, const View<const T, 3>& x,
                  const View<T, 3>& out) {
  const Index outputs = layer.weight.extent(0);
  require(layer.weight.extent(1) == x.extent(2) && layer.weight.extent(2) == 3,
          "InformerDistil: weight is ", layer.weight, ", wanted [C', ", x.extent(2), ", 3]");
  for (const auto& parameter : {layer.bias, layer.gamma, layer.beta, layer.mean, layer.variance})
    require(parameter.extent(0) == outputs, "InformerDistil: a parameter has ", parameter.extent(0),
            " channels, weight ", outputs);
  require(layer.padding == 1 || layer.padding == 2, "InformerDistil: padding is ", layer.padding,
          ", wanted 1 or 2");
  require(x.extent(1) >= layer.padding, "InformerDistil: ", x.extent(1), " tokens, padding ",
          layer.padding);
  require(
      out.shape() == std::array<Index, 3>{x.extent(0), layer.output_length(x.extent(1)), outputs},
      "InformerDistil: out is ", out, ", wanted [", x.extent(0), ", ",
      layer.output_length(x.extent(1)), ", ", outputs, "]");
  require(out.extent(2) <= 1 || (x.stride(2) == 1 && out.stride(2) == 1),
          "InformerDistil: channels must be contiguous");
}

}  // namespace detail

template <class A = DefaultArch, class T, ViewLike<3> X, ViewLike<3> O>
void forward(const InformerDistil<T>& layer, const X& input, O&& output,
             const Context& ctx = Context()) {
  const View<const T, 3> x = view_of(input);
  const View<T, 3> out = view_of(output);
  detail::check_distil(layer, x, out);
  const Index N = x.extent(1), C = x.extent(2), outputs = out.extent(2), p = layer.padding;
  Arena& arena = ctx.arena();
  const Arena::Frame frame(arena);
  const auto weight = detail::scratch<T, 2>(arena, {outputs, 3 * C});
  const auto bias = detail::scratch<T, 1>(arena, {outputs});
  detail::fold_distil(layer, weight, bias.data());
  const auto ring = detail::scratch<T, 2>(arena, {N + 2 * p, C});
  const auto y = detail::scratch<T, 2>(arena, {N + 2 * p - 2, outputs});
  // Three tokens that follow one another are one row of inputs.
  const View<const T, 2> taps(ring.data(), {y.extent(0), 3 * C}, {C, 1});
  for (Index b = 0; b < x.extent(0); ++b) {
    for (Index n = 0; n < ring.extent(0); ++n)
      std::copy_n(x.pointer(b, (n - p + N) % N), C, ring.pointer(n));
    gemm<A>(taps, weight.transpose(0, 1), y, Then{Bias{bias}, Activate<detail::Elu>{}}, ctx);
    detail::pool_rows<A, T>(y, out.select(0, b));
  }
}

}  // namespace weft
