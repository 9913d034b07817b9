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
template <weft::FusedOperator Operator>
class BasicDeltaNetMixer {
 public:
  using Op = Operator;
  struct State {
    weft::LinearState<float> memory;
    weft::ConvState<float> inputs;
  };

  struct Layer {
    Op qkvb;                         ///< the four projections in one product
    weft::CausalConv1d<float> conv;  ///< of q, k and v side by side
    Tensor<float, 1> norm;
    Op out;
  };

  BasicDeltaNetMixer(const Sizes& sizes, Index)
      : sizes_(sizes), inner_(sizes.heads * sizes.head_dim) {}

  template <class Make>
  Layer load(const Weights& weights, Make make) const {
    const Weights attention = weights.part("self_attn");
    const auto taps = [&](const char* name) {
      const auto conv = attention.read(name, std::array{inner_, Index{1}, kTaps});
      Tensor<float, 2> out({inner_, kTaps});
      std::copy_n(conv.data(), conv.size(), out.data());
      return out;
    };
    const Rows qkvb[] = {{"q_proj.weight", inner_},
                         {"k_proj.weight", inner_},
                         {"v_proj.weight", inner_},
                         {"b_proj.weight", sizes_.heads}};
    const Rows out[] = {{"o_proj.weight", sizes_.width}};
    return {make(attention, "qkvb_proj", qkvb, sizes_.width),
            weft::CausalConv1d<float>(stack_rows(taps("q_conv1d.weight"), taps("k_conv1d.weight"),
                                                 taps("v_conv1d.weight"))),
            attention.read("o_norm.weight", std::array{sizes_.head_dim}),
            make(attention, "o_proj", out, inner_)};
  }

  template <class F>
  void for_each_linear(Layer& layer, F f) const {
    f("self_attn.qkvb_proj", layer.qkvb, true);
    f("self_attn.o_proj", layer.out, false);
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

using DeltaNetMixer = BasicDeltaNetMixer<Dense>;
static_assert(Mixer<DeltaNetMixer>);

}  // namespace generate
