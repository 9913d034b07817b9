#pragma once

#include "language_model.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/position/rope.hpp>

namespace generate {

/// Where a mixer keeps keys and values: in floats. (compress_model/kv_caches.cpp has others.)
struct FloatCache {
  using State = weft::KvCache<float>;

  template <class Softmax>
  State operator()(const Softmax& softmax, const weft::CacheSizes& sizes) const {
    return weft::make_state(softmax, sizes);
  }
};

namespace detail {

/// The verbs as a cache's namespace has them; a mixer's own members would hide them.
inline constexpr auto prefill_cache = [](const auto& softmax, auto& state, const auto&... others) {
  prefill(softmax, state, others...);
};
inline constexpr auto step_cache = [](const auto& softmax, auto& state, const auto&... others) {
  step(softmax, state, others...);
};

}  // namespace detail

/// Grouped-query softmax attention with rotary positions and a KV cache:
///
///   q, k, v = q_proj h, k_proj h, v_proj h;  q, k = rope(q), rope(k)
///   mixer(h) = o_proj(softmax attention(q, k, v)), causal
template <weft::FusedOperator Operator, class Cache = FloatCache>
class BasicSoftmaxMixer {
 public:
  using Op = Operator;
  using State = typename Cache::State;

  struct Layer {
    Op qkv;  ///< the three projections in one product
    Op out;
  };

  BasicSoftmaxMixer(const Sizes& sizes, Index positions)
      : sizes_(sizes),
        positions_(positions),
        rope_(weft::rope_frequencies(sizes.head_dim), weft::RopeLayout::half, positions) {
    weft::require(sizes.heads % sizes.kv_heads == 0, "the model has ", sizes.heads, " heads on ",
                  sizes.kv_heads, " key and value heads, which is no whole number for each");
  }

  template <class Make>
  Layer load(const Weights& weights, Make make) const {
    const Weights attention = weights.part("self_attn");
    const Index inner = sizes_.heads * sizes_.head_dim;
    const Index shared = sizes_.kv_heads * sizes_.head_dim;
    const Rows qkv[] = {
        {"q_proj.weight", inner}, {"k_proj.weight", shared}, {"v_proj.weight", shared}};
    const Rows out[] = {{"o_proj.weight", sizes_.width}};
    return {make(attention, "qkv_proj", qkv, sizes_.width), make(attention, "o_proj", out, inner)};
  }

  template <class F>
  void for_each_linear(Layer& layer, F f) const {
    f("self_attn.qkv_proj", layer.qkv, true);
    f("self_attn.o_proj", layer.out, false);
  }

  State make_state() const {
    return Cache{}(softmax_, weft::CacheSizes{1, sizes_.kv_heads, positions_, sizes_.head_dim,
                                              sizes_.head_dim});
  }

  Index bytes(const State& state) const { return state.bytes(); }

  void prefill(const Layer& layer, State& state, View<const float, 2> x, View<float, 2> y,
               const Context& ctx) const {
    run(layer, state, x, y, ctx, [&](auto q, auto k, auto v, auto out) {
      detail::prefill_cache(softmax_, state, q, k, v, out, ctx);
    });
  }

  void step(const Layer& layer, State& state, View<const float, 2> x, View<float, 2> y,
            const Context& ctx) const {
    run(layer, state, x, y, ctx, [&](auto q, auto k, auto v, auto out) {
      detail::step_cache(softmax_, state, q.select(2, 0), k.select(2, 0), v.select(2, 0),
                         out.select(2, 0), ctx);
    });
  }

 private:
  template <class Attend>
  void run(const Layer& layer, State& state, View<const float, 2> x, View<float, 2> y,
           const Context& ctx, Attend attend) const {
    const Index n = x.extent(0), channels = layer.qkv.rows(), inner = layer.out.cols();
    const weft::Arena::Frame frame(ctx.arena());
    const View<float, 2> qkv(ctx.arena().take<float>(n * channels), {n, channels});
    const View<float, 2> mixed(ctx.arena().take<float>(n * inner), {n, inner});

    layer.qkv.apply(x, qkv, ctx);
    // Queries and keys lie side by side and turn together.
    const View<float, 4> turning = heads(qkv, 0, sizes_.heads + sizes_.kv_heads);
    apply_rope(rope_, turning, turning, state.length(), ctx);
    attend(heads(qkv, 0, sizes_.heads), heads(qkv, sizes_.heads, sizes_.kv_heads),
           heads(qkv, sizes_.heads + sizes_.kv_heads, sizes_.kv_heads),
           heads(mixed, 0, sizes_.heads));
    layer.out.apply(mixed, y, weft::AddResidual{y}, ctx);
  }

  /// Heads [first, first + count) of rows [n, heads * head_dim], as [1, count, n, head_dim].
  View<float, 4> heads(const View<float, 2>& rows, Index first, Index count) const {
    const Index dim = sizes_.head_dim;
    return {rows.pointer(0, first * dim),
            {1, count, rows.extent(0), dim},
            {rows.extent(0) * rows.stride(0), dim, rows.stride(0), 1}};
  }

  Sizes sizes_;
  Index positions_;
  weft::RopeTable<float> rope_;
  weft::Softmax<weft::Causal> softmax_{weft::Causal{weft::Align::bottom_right}};
};

using SoftmaxMixer = BasicSoftmaxMixer<Dense>;
static_assert(Mixer<SoftmaxMixer>);

}  // namespace generate
