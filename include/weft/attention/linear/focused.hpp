#pragma once

#include <weft/attention/linear/mixer.hpp>
#include <weft/core/math.hpp>
#include <weft/layer/depthwise_conv.hpp>
#include <weft/layer/heads.hpp>
#include <weft/layer/rows.hpp>

namespace weft {

/// Focused linear attention (FLatten Transformer: Vision Transformer using Focused Linear
/// Attention, arXiv:2308.00442): features are sharpened by a power that keeps their length,
///
///   f(x) = y^p |y| / |y^p|,  y = (relu(x) + 1e-6) / softplus(scale)     |.| over all C channels
///   out_i = sum_j (f(q_i) . f(k_j + position_j)) v_j / N
///           / (mean_j f(q_i) . f(k_j + position_j) + eps) + conv(v)_i                  per head
///
/// q, k, v, out are maps [B, rows, columns, C] of H heads in raster order, position [N, C], scale
/// [C] as learned, before the softplus; conv a depthwise convolution of C channels, 5 x 5 in the
/// paper and shared by the heads (shared_by_heads). p = 1 leaves y as it is. Powers are taken
/// relative to the largest channel, so that they neither overflow nor vanish.
///
/// Time O(B N C (C / H + k^2 + p)), scratch memory 2 B N C. Throws where shapes disagree or p < 1.
template <class T = float, class ConvArch = DefaultArch>
struct FocusedAttention {
  Index heads;
  View<const T, 2> position;
  View<const T, 1> scale;
  const DepthwiseConv<T, ConvArch>* conv;  ///< must live as long as the mixer
  int power = 3;
  double eps = 1e-6;
};

namespace detail {

template <class V>
V power_of(const V& x, int p) noexcept {
  V y = x;
  for (; p > 1; --p) y *= x;
  return y;
}

/// A row of n channels, focused; `inverse` is 1 / softplus(scale), `position` may be null.
template <class A, class T, class S>
void focus_row(const S* x, const T* position, const T* inverse, Index n, int p, T* to) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  for (Index c = 0; c < n; c += W) {
    const Index lanes = std::min(W, n - c);
    V y = load_as_partial<T, A>(x + c, lanes);
    if (position != nullptr) y += load_partial<A>(position + c, lanes);
    y = (math::relu(y) + V(static_cast<T>(1e-6))) * load_partial<A>(inverse + c, lanes);
    store_partial<A>(to + c, y, lanes);
  }
  const T largest = row_max<A>(to, n);
  const V relative(1 / largest);
  V squares(T(0)), power_squares(T(0));
  for (Index c = 0; c < n; c += W) {
    const V y = load_partial<A>(to + c, std::min(W, n - c)) * relative;  // zeros behind the end
    const V raised = power_of(y, p);
    squares = mul_add(y, y, squares);
    power_squares = mul_add(raised, raised, power_squares);
  }
  const V factor(largest * std::sqrt(sum_lanes(squares) / sum_lanes(power_squares)));
  for (Index c = 0; c < n; c += W) {
    const Index lanes = std::min(W, n - c);
    const V y = load_partial<A>(to + c, lanes) * relative;
    store_partial<A>(to + c, V(power_of(y, p) * factor), lanes);
  }
}

}  // namespace detail

template <class A = DefaultArch, class T, class CA, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const FocusedAttention<T, CA>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using S = detail::Element<const Q>;
  const View<const S, 3> queries = tokens_of_map(view_of(q)), keys = tokens_of_map(view_of(k));
  const auto heads = [&](auto view) { return heads_of_map(view, mixer.heads); };
  const Index B = queries.extent(0), N = queries.extent(1), C = queries.extent(2);
  require(keys.shape() == queries.shape(), "FocusedAttention: q is ", queries, ", k ", keys,
          "; give both the same shape");
  require(
      mixer.position.extent(0) == N && mixer.position.extent(1) == C && mixer.scale.extent(0) == C,
      "FocusedAttention: position is ", mixer.position, " and scale ", mixer.scale, " for ", N,
      " tokens of ", C, " channels");
  require(mixer.position.stride(1) == 1 || C == 1, "FocusedAttention: position has strided rows");
  require(mixer.power >= 1, "FocusedAttention: power is ", mixer.power, ", must be at least 1");

  const Arena::Frame frame(ctx.arena());
  T* inverse = ctx.arena().template take<T>(C);
  for (Index c = 0; c < C; ++c) {
    const double x = static_cast<double>(mixer.scale(c));
    inverse[c] = static_cast<T>(1 / (std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)))));
  }
  const auto focus = [&](const View<const S, 3>& from, bool with_position) {
    const View<T, 3> to(ctx.arena().template take<T>(B * N * C), {B, N, C});
    detail::for_each_row(
        ctx,
        [&](Index row, const S* x, T* y) {
          const T* position = with_position ? mixer.position.pointer(row % N) : nullptr;
          detail::focus_row<A>(x, position, inverse, C, mixer.power, y);
        },
        from, to);
    return heads_of_tokens(to, mixer.heads);
  };
  const LinearAttention linear{
      Identity{}, NoDecay{}, Additive{}, MeanPlusEpsilon{mixer.eps}, 1.0, Order::bidirectional};
  forward<A>(linear, focus(queries, false), focus(keys, true), heads(view_of(v)),
             heads(view_of(out)), ctx);
  mixer.conv->add(view_of(v), view_of(out), ctx);
}

}  // namespace weft
