#pragma once

#include "weights.hpp"
#include <weft/layer/embedding.hpp>
#include <weft/layer/ffn.hpp>
#include <weft/layer/norm.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace generate {

using weft::Context;
using weft::Operator;

inline constexpr Index kVocabulary = 256;  ///< tokens are bytes
inline constexpr float kEps = 1e-5f;       ///< of every RMSNorm

/// The multiplication by every weight of the model, kept as the file has it: change it to quantize
/// the model.
using Stored = weft::bf16;
using Dense = weft::DenseOperator<Stored>;

/// What mixes the sequence in every layer. A mixer is what the layers share (sizes, tables); each
/// layer has its weights and each text a state per layer.
///
///   Mixer(sizes, positions)                       for texts of at most so many tokens
///   load(weights) -> Layer                        from the tensors of one layer
///   make_state() -> State
///   prefill(layer, state, x, y, ctx)              y [n, width] += mixer(x [n, width])
///   step(layer, state, x, y, ctx)                 the same for n = 1
///   bytes(state)                                  memory that the state holds
template <class M>
concept Mixer =
    requires(const M& mixer, const typename M::Layer& layer, typename M::State& state,
             const Weights& weights, View<const float, 2> x, View<float, 2> y, const Context& ctx) {
      requires std::constructible_from<M, const Sizes&, Index>;
      { mixer.load(weights) } -> std::same_as<typename M::Layer>;
      { mixer.make_state() } -> std::same_as<typename M::State>;
      mixer.prefill(layer, state, x, y, ctx);
      mixer.step(layer, state, x, y, ctx);
      { mixer.bytes(state) } -> std::convertible_to<Index>;
    };

/// A byte-level language model with any mixer. For every layer
///
///   x += mixer(RMSNorm(x))
///   x += down(silu(gate h) * up h),  h = RMSNorm(x)          where the file has these weights
///
/// from x = embedding[byte], and logits = embedding RMSNorm(x) of the byte that follows.
template <Mixer M>
class LanguageModel {
 public:
  /// For texts of at most `positions` bytes. Throws when a tensor is missing or has another shape.
  LanguageModel(const weft::SafetensorsFile& file, Index positions)
      : LanguageModel(Weights(file), sizes_of(file), positions) {}

  struct State {
    std::vector<typename M::State> layers;
  };

  const Sizes& sizes() const noexcept { return sizes_; }

  State make_state() const {
    State state;
    for (Index l = 0; l < sizes_.layers; ++l) state.layers.push_back(mixer_.make_state());
    return state;
  }

  /// Memory that a state holds.
  Index bytes(const State& state) const {
    Index sum = 0;
    for (const auto& layer : state.layers) sum += mixer_.bytes(layer);
    return sum;
  }

  /// Reads a piece of text. logits [n, 256] of the bytes after each of its n bytes, or [1, 256] of
  /// the byte after the last. Throws when n is zero or the text grows too long.
  void prefill(State& state, std::span<const std::uint8_t> text, View<float, 2> logits,
               const Context& ctx) const {
    weft::require(!text.empty(), "prefill: the text is empty");
    run(state, text, logits, ctx, [&](const auto& layer, auto& mixer_state, auto in, auto out) {
      mixer_.prefill(layer, mixer_state, in, out, ctx);
    });
  }

  /// Reads one byte. logits [1, 256].
  void step(State& state, std::uint8_t byte, View<float, 2> logits, const Context& ctx) const {
    run(state, {&byte, 1}, logits, ctx,
        [&](const auto& layer, auto& mixer_state, auto in, auto out) {
          mixer_.step(layer, mixer_state, in, out, ctx);
        });
  }

 private:
  struct FeedForward {
    Tensor<float, 1> norm;
    weft::SwiGlu<Dense> mlp;
  };

  struct Layer {
    Tensor<float, 1> norm;
    typename M::Layer mixer;
    std::optional<FeedForward> feed_forward;
  };

  LanguageModel(const Weights& weights, const Sizes& sizes, Index positions)
      : sizes_(sizes),
        mixer_(sizes, positions),
        embedding_(
            weights.read<Stored>("embed_tokens.weight", std::array{kVocabulary, sizes.width})),
        norm_(weights.read("norm.weight", std::array{sizes.width})),
        head_(embedding_.view()) {
    for (Index l = 0; l < sizes.layers; ++l) {
      layers_.push_back(load_layer(weights.part("layers." + std::to_string(l))));
    }
  }

  Layer load_layer(const Weights& weights) const {
    Layer layer{weights.read("input_layernorm.weight", std::array{sizes_.width}),
                mixer_.load(weights), std::nullopt};
    if (!weights.has("mlp.gate_proj.weight")) return layer;
    const Weights mlp = weights.part("mlp");
    const std::array in{sizes_.ffn, sizes_.width}, out{sizes_.width, sizes_.ffn};
    layer.feed_forward.emplace(
        FeedForward{weights.read("post_attention_layernorm.weight", std::array{sizes_.width}),
                    {Dense(stack_rows(mlp.read<Stored>("gate_proj.weight", in),
                                      mlp.read<Stored>("up_proj.weight", in))),
                     Dense(mlp.read<Stored>("down_proj.weight", out))}});
    return layer;
  }

  template <class Mix>
  void run(State& state, std::span<const std::uint8_t> text, View<float, 2> logits,
           const Context& ctx, Mix mix) const {
    const auto n = static_cast<Index>(text.size());
    weft::require(logits.extent(0) == n || logits.extent(0) == 1, "logits are ", logits,
                  " for a text of ", n, " bytes");
    const weft::Arena::Frame frame(ctx.arena());
    const View<float, 2> x(ctx.arena().take<float>(n * sizes_.width), {n, sizes_.width});
    const View<float, 2> h(ctx.arena().take<float>(n * sizes_.width), {n, sizes_.width});

    embed(embedding_, weft::view_of(text), x, ctx);
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const Layer& layer = layers_[l];
      normalize(weft::RmsNorm{layer.norm.view(), kEps}, x, h, ctx);
      mix(layer.mixer, state.layers[l], View<const float, 2>(h), x);
      if (!layer.feed_forward) continue;
      normalize(weft::RmsNorm{layer.feed_forward->norm.view(), kEps}, x, h, ctx);
      layer.feed_forward->mlp.apply(h, x, weft::AddResidual{x}, ctx);
    }
    const Index wanted = logits.extent(0), first = n - wanted;
    const View<float, 2> last = h.slice(0, first, wanted);
    normalize(weft::RmsNorm{norm_.view(), kEps}, x.slice(0, first, wanted), last, ctx);
    head_.apply(last, logits, ctx);
  }

  Sizes sizes_;
  M mixer_;
  Tensor<Stored, 2> embedding_;
  Tensor<float, 1> norm_;
  Dense head_;
  std::vector<Layer> layers_;
};

}  // namespace generate
