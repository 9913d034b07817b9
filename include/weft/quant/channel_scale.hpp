#pragma once

#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cmath>

/// A scale s per channel moved from activations into weights, which changes no output:
///
///   y = W x = (W diag(s)) (x / s)
///
/// What produces x is divided by s and whatever reads x is multiplied, in place: the weight and
/// bias of a norm (RMSNorm has a weight only), the rows of the weight and the bias of a linear
/// layer; the columns of every linear layer that reads x. Nothing else may read x.
///
/// Throws where the sizes disagree, and where a scale is not finite and positive.
namespace weft::quant {

namespace detail {

inline void check_channel_scales(const char* what, Index channels, View<const double, 1> scale) {
  require(scale.extent(0) == channels, what, ": ", scale.extent(0), " scales for ", channels,
          " channels");
  for (Index c = 0; c < channels; ++c)
    require(std::isfinite(scale(c)) && scale(c) > 0, what, ": scale ", c, " is ", scale(c),
            "; wanted a positive number");
}

}  // namespace detail

/// Weight [C, K] of a linear producer: row c /= s_c.
template <class W>
  requires ViewLike<W&, 2>
void divide_channels(W&& weight, View<const double, 1> scale) {
  const auto w = view_of(weight);
  using T = typename decltype(w)::value_type;
  detail::check_channel_scales("divide_channels", w.extent(0), scale);
  for (Index c = 0; c < w.extent(0); ++c)
    for (Index k = 0; k < w.extent(1); ++k)
      w(c, k) = static_cast<T>(static_cast<double>(w(c, k)) / scale(c));
}

/// Parameters [C] of the producer, for each of its channels: p /= s.
template <class P>
  requires ViewLike<P&, 1>
void divide_channels(P&& parameters, View<const double, 1> scale) {
  const auto p = view_of(parameters);
  using T = typename decltype(p)::value_type;
  divide_channels(View<T, 2>(p.data(), {p.extent(0), 1}, {p.stride(0), 1}), scale);
}

/// Weight [R, C] of a reader: column c *= s_c.
template <class W>
  requires ViewLike<W&, 2>
void multiply_inputs(W&& weight, View<const double, 1> scale) {
  const auto w = view_of(weight);
  using T = typename decltype(w)::value_type;
  detail::check_channel_scales("multiply_inputs", w.extent(1), scale);
  for (Index r = 0; r < w.extent(0); ++r)
    for (Index c = 0; c < w.extent(1); ++c)
      w(r, c) = static_cast<T>(static_cast<double>(w(r, c)) * scale(c));
}

/// Raises `most` [C] to the largest magnitude of each column of x [.., C]: of activations per
/// channel, batch after batch, or of all weights that read a channel.
template <ViewLike<2> X>
void raise_to_absmax(View<double, 1> most, const X& values) {
  const auto x = view_of(values);
  require(x.extent(1) == most.extent(0), "raise_to_absmax: x is ", x, ", there are ",
          most.extent(0), " channels");
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c) {
      const double magnitude = std::abs(static_cast<double>(x(r, c)));
      require(std::isfinite(magnitude), "raise_to_absmax: x(", r, ", ", c, ") is not finite");
      most(c) = std::max(most(c), magnitude);
    }
}

}  // namespace weft::quant
