#pragma once

#include <weft/attention/softmax/mixer.hpp>

#include <cmath>

namespace weft {

/// Cross-attention to a memory of frames, pooled 2 x 2 (Efficient Track Anything, EfficientTAM,
/// arXiv:2411.18933).
///
/// The keys are F frames of g x g tokens in raster order and then any number of pointer tokens. Of
/// the frames, keys and values are averaged over cells of 2 x 2 tokens; a pooled key stands for 4,
///   s_ij = scale q_i . kbar_j + ln 4      pooled keys
///   s_ij = scale q_i . k_j                pointers
///   out  = softmax(s) [vbar; v_pointers]                    one softmax over both
/// which is full attention exactly where the tokens of each cell are equal. With one frame or none
/// nothing is pooled. RoPE comes before (position/rope2d.hpp, sam2_rope): queries on the grid, keys
/// of the frames on the grid repeated, pointers not at all.
///
/// A second rule of the published code adds ln 4 to every component of kbar instead, and so
/// scale ln 4 sum_d q_id to the logit: another mechanism, kept for weights that were trained with
/// it.
///
/// q [B, Hq, N, D], k [B, Hk, F g^2 + P, D], v [B, Hk, F g^2 + P, E], out [B, Hq, N, E]; elements
/// fp32 or fp64, one type for all. Throws where shapes disagree, or F > 1 and g is odd. Time
/// O(B Hq N (F g^2 / 4 + P) (D + E)), scratch memory for the pooled keys and values.
struct PooledMemory {
  enum class Rule { per_logit, per_component };

  Index side;    ///< g
  Index frames;  ///< F
  Rule rule = Rule::per_logit;
  double scale = 0;  ///< 0 means 1 / sqrt(D)
};

namespace detail {

/// Means of the 2 x 2 cells of every frame, plus `add`, and then the pointers as they are.
template <class T>
void pool_frames(const PooledMemory& m, const View<const T, 4>& x, T add, const View<T, 4>& pooled,
                 const Context& ctx) {
  const Index heads = x.extent(1), g = m.side, half = g / 2, cells = m.frames * half * half;
  ctx.parallel(x.extent(0) * heads, [&](Index task, Arena&) {
    const Index b = task / heads, h = task % heads;
    for (Index t = 0; t < cells; ++t) {
      const Index frame = t / (half * half), cell = t % (half * half);
      const Index corner = frame * g * g + cell / half * 2 * g + cell % half * 2;
      for (Index d = 0; d < x.extent(3); ++d) {
        const T upper = x(b, h, corner, d) + x(b, h, corner + 1, d);
        const T lower = x(b, h, corner + g, d) + x(b, h, corner + g + 1, d);
        pooled(b, h, t, d) = (upper + lower) / 4 + add;
      }
    }
    for (Index t = cells; t < pooled.extent(2); ++t)
      std::copy_n(x.pointer(b, h, t + 3 * cells), x.extent(3), pooled.pointer(b, h, t));
  });
}

/// s <- s + gain for the first `count` keys.
struct FirstKeysGain {
  Index count;
  double gain;

  template <class V>
  V operator()(V s, const Row&, Index j0) const noexcept {
    using Lane = typename V::value_type;
    const auto pooled = key_positions(s, j0) < V(static_cast<Lane>(count));
    return xsimd::select(pooled, s + V(static_cast<Lane>(gain)), s);
  }
};
static_assert(Score<FirstKeysGain>);

}  // namespace detail

template <class A = DefaultArch, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void forward(const PooledMemory& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using T = detail::Element<O>;
  const View<const T, 4> keys = view_of(k), values = view_of(v);
  const Index tokens = keys.extent(2), grid = mixer.side * mixer.side;
  require(mixer.side >= 1 && mixer.frames >= 0 && mixer.frames * grid <= tokens,
          "PooledMemory: ", mixer.frames, " frames of ", mixer.side, " x ", mixer.side,
          " tokens, k has ", tokens);
  Softmax plain;
  plain.scale = mixer.scale;
  if (mixer.frames <= 1) return forward<A>(plain, q, k, v, out, ctx);
  require(mixer.side % 2 == 0, "PooledMemory: cells of 2 x 2 on a side of ", mixer.side);
  detail::require_channels(keys, "k");
  detail::require_channels(values, "v");
  const Index cells = mixer.frames * grid / 4;
  const Arena::Frame frame(ctx.arena());
  const auto pooled = [&](const View<const T, 4>& x, T add) {
    const std::array<Index, 4> shape{x.extent(0), x.extent(1), tokens - 3 * cells, x.extent(3)};
    const View<T, 4> to(ctx.arena().template take<T>(View<T, 4>(nullptr, shape).size()), shape);
    detail::pool_frames(mixer, x, add, to, ctx);
    return to;
  };
  require(values.extent(2) == tokens, "PooledMemory: v has ", values.extent(2), " tokens, k ",
          tokens);
  const bool per_logit = mixer.rule == PooledMemory::Rule::per_logit;
  const double gain = std::log(4.0);
  const auto short_keys = pooled(keys, per_logit ? T(0) : static_cast<T>(gain));
  const auto short_values = pooled(values, T(0));
  if (!per_logit) return forward<A>(plain, q, short_keys, short_values, out, ctx);
  const Softmax counted{NoMask{}, detail::FirstKeysGain{cells, gain}, PlainSoftmax{}, mixer.scale};
  forward<A>(counted, q, short_keys, short_values, out, ctx);
}

}  // namespace weft
