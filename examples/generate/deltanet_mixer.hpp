#pragma once

#include "language_model.hpp"
#include <weft/attention/delta.hpp>
#include <weft/layer/causal_conv1d.hpp>

namespace generate {

/// DeltaNet with short convolutions, whose state does not grow:
///
///   q, k, v = silu(conv(q_proj h)), silu(conv(k_proj h)), silu(conv(v_proj h))
///   beta = sigmoid(b_proj h), one number per head
///   mixer(h) = o_proj(RMSNorm per head of the delta rule on q / |q|, k / |k|, v)
class DeltaNetMixer {
 public:
  struct State {
    weft::LinearState<float> memory;
    weft::ConvState<float> inputs;
  };

  struct Layer {
    Dense qkvb;                      ///< the four projections in one product
    weft::CausalConv1d<float> conv;  ///< of q, k and v side by side
    Tensor<float, 1> norm;
    Dense out;
  };

  DeltaNetMixer(const Sizes& sizes, Index) : sizes_(sizes), inner_(sizes.heads * sizes.head_dim) {}

  Layer load(const Weights& weights) const {
    const Weights attention = weights.part("self_attn");
    const auto projection = [&](const char* name, Index rows) {
      return attention.read<Stored>(name, std::array{rows, sizes_.width});
    };
    const auto taps = [&](const char* name) {
      const auto conv = attention.read(name, std::array{inner_, Index{1}, kTaps});
      Tensor<float, 2> out({inner_, kTaps});
      std::copy_n(conv.data(), conv.size(), out.data());
      return out;
    };
    return {Dense(stack_rows(
                projection("q_proj.weight", inner_), projection("k_proj.weight", inner_),
                projection("v_proj.weight", inner_), projection("b_proj.weight", sizes_.heads))),
            weft::CausalConv1d<float>(stack_rows(taps("q_conv1d.weight"), taps("k_conv1d.weight"),
                                                 taps("v_conv1d.weight"))),
            attention.read("o_norm.weight", std::array{sizes_.head_dim}),
            Dense(attention.read<Stored>("o_proj.weight", std::array{sizes_.width, inner_}))};
  }

  State make_state() const {
    const auto mixer = weft::delta_net(View<const float, 3>{});  // a state depends on no gates
    return {weft::make_state(mixer, {1, sizes_.heads, sizes_.head_dim, sizes_.head_dim}),
            {Tensor<float, 3>({1, kTaps - 1, 3 * inner_})}};
  }

  Index bytes(const State& state) const {
    return state.memory.bytes() + state.inputs.inputs.size() * static_cast<Index>(sizeof(float));
  }

  void prefill(const Layer& layer, State& state, View<const float, 2> x, View<float, 2> y,
               const Context& ctx) const {
    const Index n = x.extent(0), channels = layer.qkvb.rows();
    const weft::Arena::Frame frame(ctx.arena());
    const View<float, 2> qkvb(ctx.arena().take<float>(n * channels), {n, channels});
    const View<float, 2> qkv(ctx.arena().take<float>(n * 3 * inner_), {n, 3 * inner_});
    const View<float, 2> mixed(ctx.arena().take<float>(n * inner_), {n, inner_});

    layer.qkvb.apply(x, qkvb, ctx);
    layer.conv.apply(state.inputs, unsqueeze(qkvb.slice(1, 0, 3 * inner_)), unsqueeze(qkv),
                     weft::Silu{}, ctx);
    // [n, heads] seen as [1, heads, n].
    const View<float, 3> beta = unsqueeze(qkvb.slice(1, 3 * inner_, sizes_.heads)).transpose(1, 2);
    sigmoid_gate(beta, beta);
    weft::prefill(weft::delta_net(beta), state.memory, heads(qkv, 0), heads(qkv, inner_),
                  heads(qkv, 2 * inner_), heads(mixed, 0), ctx);
    normalize(weft::RmsNorm{layer.norm.view(), kEps}, heads(mixed, 0), heads(mixed, 0), ctx);
    layer.out.apply(mixed, y, weft::AddResidual{y}, ctx);
  }

  void step(const Layer& layer, State& state, View<const float, 2> x, View<float, 2> y,
            const Context& ctx) const {
    prefill(layer, state, x, y, ctx);
  }

 private:
  static constexpr Index kTaps = 4;

  /// The heads of rows [n, ..] from a channel on, as [1, heads, n, head_dim].
  View<float, 4> heads(const View<float, 2>& rows, Index first) const {
    return {rows.pointer(0, first),
            {1, sizes_.heads, rows.extent(0), sizes_.head_dim},
            {rows.extent(0) * rows.stride(0), sizes_.head_dim, rows.stride(0), 1}};
  }

  Sizes sizes_;
  Index inner_;
};
static_assert(Mixer<DeltaNetMixer>);

}  // namespace generate
