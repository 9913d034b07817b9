#pragma once

#include <weft/core/activation.hpp>
#include <weft/core/arguments.hpp>
#include <weft/core/dtype.hpp>
#include <weft/core/executor.hpp>

#include <algorithm>

namespace weft {

/// The last inputs of a causal convolution, [B, W - 1, C], oldest first; zeros at the start. To
/// save, restore or roll back is to copy it.
template <class T = float>
struct ConvState {
  Tensor<T, 3> inputs;
};

/// Causal depthwise convolution over tokens, the short convolution before the recurrence of Mamba
/// (arXiv:2312.00752), DeltaNet (arXiv:2406.06484) and others:
///
///   y[b, t, c] = bias[c] + sum_{j < W} w[c, j] x[b, t - (W - 1) + j, c]
///
/// so that w[c, W - 1] is the tap of the token itself. Inputs before the first token are those of
/// the state, zeros without one. w is [C, W], bias [C] or empty for none; both are copied,
/// rearranged so that channels are the lanes. An activation is the caller's: `apply` takes a
/// function of a register, Silu in the papers above.
///
/// x and y [B, N, C], any strides but 1 in the last axis, no overlap. Elements float, bf16 or fp16
/// with T = float, double with double. Throws where shapes disagree. Time O(B N C W).
template <class T = float, class A = DefaultArch>
class CausalConv1d {
 public:
  explicit CausalConv1d(View<const T, 2> weight, View<const T, 1> bias = {})
      : channels_(weight.extent(0)), width_(weight.extent(1)) {
    require(width_ >= 1, "CausalConv1d: weight is ", weight, ", wanted [C, W] with W >= 1");
    require(bias.data() == nullptr || bias.extent(0) == channels_, "CausalConv1d: bias has ",
            bias.extent(0), " values for ", channels_, " channels");
    taps_ = Tensor<T, 2>({width_ + 1, channels_});
    for (Index c = 0; c < channels_; ++c) {
      for (Index j = 0; j < width_; ++j) taps_(j, c) = weight(c, j);
      if (bias.data() != nullptr) taps_(width_, c) = bias(c);
    }
  }

  Index channels() const noexcept { return channels_; }
  Index width() const noexcept { return width_; }  ///< W

  ConvState<T> make_state(Index batch) const {
    return {Tensor<T, 3>({batch, width_ - 1, channels_})};
  }

  /// y = f(conv(x)), from an empty state.
  template <class F = Identity, ViewLike<3> X, ViewLike<3> Y>
  void apply(const X& x, Y&& y, F f = {}, const Context& ctx = Context()) const {
    run(view_of(x), view_of(y), f, nullptr, ctx);
  }

  /// The same from a state, which moves on behind the last token.
  template <class F = Identity, ViewLike<3> X, ViewLike<3> Y>
  void apply(ConvState<T>& state, const X& x, Y&& y, F f = {},
             const Context& ctx = Context()) const {
    const auto in = view_of(x);
    const std::array shape{in.extent(0), width_ - 1, channels_};
    require(state.inputs.shape() == shape, "CausalConv1d: the state is ", state.inputs.view(),
            ", the call needs [", shape[0], ", ", shape[1], ", ", shape[2], "]");
    run(in, view_of(y), f, &state, ctx);
    for (Index b = 0; b < in.extent(0); ++b) remember(state, in.select(0, b), b);
  }

 private:
  template <class F, class X, class Y>
  void run(const View<X, 3>& x, const View<Y, 3>& y, const F& f, const ConvState<T>* state,
           const Context& ctx) const {
    require(x.shape() == y.shape() && x.extent(2) == channels_, "CausalConv1d of ", channels_,
            " channels: x is ", x, ", y is ", y, "; wanted one shape [B, N, C]");
    detail::require_channels(x, "x");
    detail::require_channels(y, "y");
    const Index tokens = x.extent(1), blocks = ceil_div(tokens, kBlock);
    ctx.parallel(x.extent(0) * blocks, [&](Index task, Arena&) {
      const Index b = task / blocks, first = task % blocks * kBlock;
      for (Index t = first; t < std::min(tokens, first + kBlock); ++t)
        token(x.select(0, b), t, state == nullptr ? nullptr : state->inputs.view().pointer(b),
              y.pointer(b, t), f);
    });
  }

  /// Tokens of a task.
  static constexpr Index kBlock = 64;

  template <class F, class X, class Y>
  void token(const View<X, 2>& x, Index t, const T* before, Y* y, const F& f) const noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index c = 0; c < channels_; c += W) {
      const Index lanes = std::min(W, channels_ - c);
      Vec<T, A> sum = load_partial<A>(&taps_(width_, 0) + c, lanes);
      for (Index j = 0; j < width_; ++j) {
        const Index from = t - (width_ - 1) + j;
        const auto tap = load_partial<A>(&taps_(j, 0) + c, lanes);
        if (from >= 0)
          sum = mul_add(tap, load_as_partial<T, A>(x.pointer(from) + c, lanes), sum);
        else if (before != nullptr)
          sum = mul_add(tap, load_partial<A>(before + (from + width_ - 1) * channels_ + c, lanes),
                        sum);
      }
      store_as_partial<A>(y + c, f(sum), lanes);
    }
  }

  /// The last W - 1 of the inputs so far.
  template <class X>
  void remember(ConvState<T>& state, const View<X, 2>& x, Index b) const noexcept {
    T* kept = state.inputs.view().pointer(b);
    const Index n = x.extent(0), keep = width_ - 1, old = std::max<Index>(0, keep - n);
    std::copy(kept + (keep - old) * channels_, kept + keep * channels_, kept);
    for (Index i = old; i < keep; ++i)
      for (Index c = 0; c < channels_; ++c)
        kept[i * channels_ + c] = static_cast<T>(x(n - keep + i, c));
  }

  Index channels_, width_;
  Tensor<T, 2> taps_;  ///< [W + 1, C], the bias last
};

}  // namespace weft
