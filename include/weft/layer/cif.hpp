#pragma once

#include <weft/core/gemm.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/rows.hpp>

#include <cmath>
#include <cstdint>

namespace weft {

/// Continuous integrate-and-fire (CIF, arXiv:1905.11235) as the predictor of Paraformer
/// (arXiv:2206.08317): acoustic frames become as many token embeddings as there are tokens.
///
/// Weights of the frames, from hidden [B, T, C], with a convolution over time of l + r + 1 taps and
/// zeros beyond both ends:
///   y = relu(conv(h) + h)   depthwise (Paraformer's first predictor)      conv_weight [C, 1, k]
///   y = relu(conv(h))       full (its second)                             conv_weight [C, C, k]
///   alpha = relu(smooth sigma(w . y + b) - noise)                         0 from frame lens[b] on
/// Then, in inference with a tail, one frame of zeros is appended and alpha[b, lens[b]] += tail; in
/// training with a target of n tokens, alpha *= n / sum(alpha) (a sum of zero stays as it is).
///
/// Firing at a threshold of 1, with I the integral and f the frame in the making:
///   I + alpha_t < 1:   I += alpha_t,          f += alpha_t h_t
///   else:              emit f + (1 - I) h_t,  I += alpha_t - 1,   f = I h_t
/// at most once per frame; what a weight above 1 leaves over is carried on. Each emitted frame has
/// weights that sum to 1, and emitted frames and remainder together are sum_t alpha_t h_t. I is
/// kept in double, because whether a frame fires hangs on its last digits.
///
/// Every function throws where shapes disagree. Time O(B T C k) or O(B T C^2 k) for the weights,
/// O(B T C) for firing.
template <class T = float>
struct CifPredictor {
  View<const T, 3> conv_weight;  ///< [C, 1, k] depthwise, [C, C, k] full
  View<const T, 1> conv_bias;    ///< [C]
  View<const T, 1> out_weight;   ///< w [C]
  T out_bias = 0;                ///< b
  Index left = 1;                ///< l, frames before the own; right = k - 1 - l
  double smooth = 1;
  double noise = 0;
};

namespace detail {

/// conv(h) of one sequence, [T, C]: one product, or one row operation, per tap.
template <class A, class T>
void cif_convolve(const CifPredictor<T>& p, View<const T, 2> h, View<T, 2> y, const Context& ctx) {
  const Index frames = h.extent(0), channels = h.extent(1), taps = p.conv_weight.extent(2);
  const bool depthwise = p.conv_weight.extent(1) == 1;
  for (Index t = 0; t < frames; ++t)
    for (Index c = 0; c < channels; ++c) y(t, c) = p.conv_bias(c) + (depthwise ? h(t, c) : T(0));
  for (Index k = 0; k < taps; ++k) {
    const Index shift = k - p.left, first = std::clamp<Index>(-shift, 0, frames);
    const Index count = std::clamp<Index>(frames - shift, 0, frames) - first;
    if (count <= 0) continue;
    const auto from = h.slice(0, first + shift, count);
    const auto to = y.slice(0, first, count);
    const auto weight = p.conv_weight.select(2, k);
    if (!depthwise) {
      gemm<A>(from, weight.transpose(0, 1), to, AddResidual<T>{to}, ctx);
      continue;
    }
    for (Index t = 0; t < count; ++t)
      for (Index c = 0; c < channels; ++c) to(t, c) += weight(c, 0) * from(t, c);
  }
}

template <class T>
void check_cif(const CifPredictor<T>& p, View<const T, 3> h, View<const std::int32_t, 1> lens,
               View<double, 2> alpha) {
  const Index channels = h.extent(2), taps = p.conv_weight.extent(2);
  require(p.conv_weight.extent(0) == channels &&
              (p.conv_weight.extent(1) == 1 || p.conv_weight.extent(1) == channels),
          "CifPredictor: conv_weight is ", p.conv_weight,
          ", wanted [C, 1, k] or [C, C, k] with C = ", channels);
  require(p.left >= 0 && p.left < taps, "CifPredictor: ", p.left, " frames to the left of ", taps,
          " taps");
  require(p.conv_bias.extent(0) == channels && p.out_weight.extent(0) == channels,
          "CifPredictor: conv_bias has ", p.conv_bias.extent(0), " and out_weight ",
          p.out_weight.extent(0), " values for ", channels, " channels");
  require(std::isfinite(p.smooth) && std::isfinite(p.noise), "CifPredictor: smooth is ", p.smooth,
          " and noise ", p.noise);
  require(lens.extent(0) == h.extent(0), "CifPredictor: ", lens.extent(0), " lengths for ",
          h.extent(0), " sequences");
  require(alpha.extent(0) == h.extent(0) && alpha.extent(1) == h.extent(1),
          "CifPredictor: alpha is ", alpha, ", hidden is ", h);
  for (Index b = 0; b < lens.extent(0); ++b)
    require(lens(b) >= 0 && lens(b) <= h.extent(1), "CifPredictor: length ", b, " is ", lens(b),
            ", there are ", h.extent(1), " frames");
}

}  // namespace detail

/// alpha [B, T] of hidden [B, T, C], lens [B] valid frames each.
template <class A = DefaultArch, class T>
void cif_weights(const CifPredictor<T>& predictor, std::type_identity_t<View<const T, 3>> hidden,
                 View<const std::int32_t, 1> lens, View<double, 2> alpha,
                 const Context& ctx = Context()) {
  detail::check_cif(predictor, hidden, lens, alpha);
  const Index frames = hidden.extent(1), channels = hidden.extent(2);
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> y(ctx.arena().template take<T>(frames * channels), {frames, channels});
  for (Index b = 0; b < hidden.extent(0); ++b) {
    detail::cif_convolve<A>(predictor, hidden.select(0, b), y, ctx);
    for (Index t = 0; t < frames; ++t) {
      double logit = static_cast<double>(predictor.out_bias);
      for (Index c = 0; c < channels; ++c)
        logit += static_cast<double>(predictor.out_weight(c)) *
                 static_cast<double>(std::max(y(t, c), T(0)));
      const double weight = predictor.smooth / (1 + std::exp(-logit)) - predictor.noise;
      alpha(b, t) = t < lens(b) ? std::max(weight, 0.0) : 0.0;
    }
  }
}

/// The weights with a tail, [B, T + 1]: 0 in the appended frame, and `tail` more in the first frame
/// after the valid ones. Throws unless tail > 0.
inline Tensor<double, 2> cif_with_tail(View<const double, 2> alpha,
                                       View<const std::int32_t, 1> lens, double tail) {
  require(tail > 0 && std::isfinite(tail), "cif_with_tail: tail is ", tail, ", wanted more than 0");
  require(lens.extent(0) == alpha.extent(0), "cif_with_tail: ", lens.extent(0),
          " lengths, alpha is ", alpha);
  Tensor<double, 2> longer({alpha.extent(0), alpha.extent(1) + 1});
  for (Index b = 0; b < alpha.extent(0); ++b) {
    for (Index t = 0; t < alpha.extent(1); ++t) longer(b, t) = alpha(b, t);
    require(lens(b) >= 0 && lens(b) <= alpha.extent(1), "cif_with_tail: length ", b, " is ",
            lens(b));
    longer(b, lens(b)) += tail;
  }
  return longer;
}

/// Scales the weights of each sequence to sum to its number of tokens: training. targets [B] >= 0.
inline void cif_scale_to(View<double, 2> alpha, View<const std::int32_t, 1> targets) {
  require(targets.extent(0) == alpha.extent(0), "cif_scale_to: ", targets.extent(0),
          " targets, alpha is ", alpha);
  for (Index b = 0; b < alpha.extent(0); ++b) {
    require(targets(b) >= 0, "cif_scale_to: target ", b, " is ", targets(b));
    double sum = 0;
    for (Index t = 0; t < alpha.extent(1); ++t) sum += alpha(b, t);
    for (Index t = 0; t < alpha.extent(1) && sum > 0; ++t) alpha(b, t) *= targets(b) / sum;
  }
}

/// What firing carries from frame to frame; a copy of it is a checkpoint.
template <class T = float>
struct CifState {
  explicit CifState(Index channels) : frame({channels}) {}

  double integral = 0;  ///< I
  Tensor<T, 1> frame;   ///< f [C]
};

/// Integrates the frames h [t, C] of one sequence with weights alpha [t'], t' >= t, frames beyond h
/// being zeros, and writes what fires to embeds [n, C]. Returns how many fired; frames fed in
/// chunks fire as if fed at once. Throws when embeds has no room, before it writes.
template <class T>
Index cif_fire(CifState<T>& state, std::type_identity_t<View<const T, 2>> h,
               View<const double, 1> alpha, std::type_identity_t<View<T, 2>> embeds) {
  const Index channels = state.frame.extent(0);
  require(h.extent(1) == channels && embeds.extent(1) == channels, "cif_fire: h is ", h,
          ", embeds ", embeds, ", the state has ", channels, " channels");
  require(alpha.extent(0) >= h.extent(0), "cif_fire: ", alpha.extent(0), " weights for ",
          h.extent(0), " frames");
  double integral = state.integral;
  Index fires = 0;
  for (Index t = 0; t < alpha.extent(0); ++t) {
    integral += alpha(t);
    if (integral >= 1) integral -= 1, ++fires;
  }
  require(fires <= embeds.extent(0), "cif_fire: ", fires, " tokens fire, embeds has room for ",
          embeds.extent(0));
  const auto add = [&](Index t, double weight) {
    for (Index c = 0; c < channels && t < h.extent(0); ++c)
      state.frame(c) += static_cast<T>(weight) * h(t, c);
  };
  Index fired = 0;
  for (Index t = 0; t < alpha.extent(0); ++t) {
    const double sum = state.integral + alpha(t);
    if (sum < 1) {
      add(t, alpha(t));
      state.integral = sum;
      continue;
    }
    add(t, 1 - state.integral);
    for (Index c = 0; c < channels; ++c) embeds(fired, c) = std::exchange(state.frame(c), T(0));
    ++fired;
    state.integral = sum - 1;
    add(t, state.integral);
  }
  return fired;
}

}  // namespace weft
