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

/// A function like ReadDense, for the concept below.
template <class Op>
using MakeOperator = Op (*)(const Weights&, const std::string&, std::span<const Rows>, Index);

/// A vector of parameters and its name.
struct Parameter {
  std::string name;
  View<float, 1> values;
};

/// What mixes the sequence in every layer. A mixer is what the layers share (sizes, tables); each
/// layer has its weights and each text a state per layer.
///
///   Op                                            what it multiplies by weights with; change it
///                                                 to quantize the model
///   Mixer(sizes, positions)                       for texts of at most so many tokens
///   load(weights, make) -> Layer                  from the tensors of one layer (see ReadDense)
///   for_each_linear(layer, f)                     f(name, operator, whether it reads the mixer's
///                                                 input), in the order in which they are applied
///   make_state() -> State
///   prefill(layer, state, x, y, ctx)              y [n, width] += mixer(x [n, width])
///   step(layer, state, x, y, ctx)                 the same for n = 1
///   bytes(state)                                  memory that the state holds
template <class M>
concept Mixer = requires(const M& mixer, typename M::Layer& layer, typename M::State& state,
                         const Weights& weights, MakeOperator<typename M::Op> make,
                         View<const float, 2> x, View<float, 2> y, const Context& ctx) {
  requires weft::FusedOperator<typename M::Op>;
  requires std::constructible_from<M, const Sizes&, Index>;
  { mixer.load(weights, make) } -> std::same_as<typename M::Layer>;
  mixer.for_each_linear(layer, [](const char*, typename M::Op&, bool) {});
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
  using Op = typename M::Op;

  /// For texts of at most `positions` bytes. Throws when a tensor is missing or has another shape.
  LanguageModel(const weft::SafetensorsFile& file, Index positions)
      : LanguageModel(file, positions, ReadDense{}) {}

  /// The same with operators that `make` makes (see ReadDense), in the order in which they are
  /// applied.
  template <class Make>
  LanguageModel(const weft::SafetensorsFile& file, Index positions, Make make)
      : LanguageModel(Weights(file), sizes_of(file), positions, make) {}

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

  /// Calls f(name, operator, norm) for every operator but that of the logits, in the order in which
  /// they are applied. f may put another one of the same sizes in its place. `norm` is the weight
  /// of the RMSNorm whose result it alone reads (std::vector<Parameter>), empty where there is
  /// none.
  template <class F>
  void for_each_linear(F f) {
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      Layer& layer = layers_[l];
      const std::string prefix = "layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* name, Tensor<float, 1>& values) -> std::vector<Parameter> {
        return {{prefix + name, values.view()}};
      };
      const std::vector<Parameter> none;
      mixer_.for_each_linear(layer.mixer, [&](const char* name, Op& op, bool first) {
        f(prefix + name, op, first ? norm("input_layernorm.weight", layer.norm) : none);
      });
      if (!layer.feed_forward) continue;
      f(prefix + "mlp.gate_up_proj", layer.feed_forward->mlp.in(),
        norm("post_attention_layernorm.weight", layer.feed_forward->norm));
      f(prefix + "mlp.down_proj", layer.feed_forward->mlp.down(), none);
    }
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
    weft::SwiGlu<Op> mlp;
  };

  struct Layer {
    Tensor<float, 1> norm;
    typename M::Layer mixer;
    std::optional<FeedForward> feed_forward;
  };

  template <class Make>
  LanguageModel(const Weights& weights, const Sizes& sizes, Index positions, Make make)
      : sizes_(sizes),
        mixer_(sizes, positions),
        embedding_(
            weights.read<Stored>("embed_tokens.weight", std::array{kVocabulary, sizes.width})),
        norm_(weights.read("norm.weight", std::array{sizes.width})),
        head_(embedding_.view()) {
    for (Index l = 0; l < sizes.layers; ++l) {
      layers_.push_back(load_layer(weights.part("layers." + std::to_string(l)), make));
    }
  }

  template <class Make>
  Layer load_layer(const Weights& weights, Make make) const {
    Layer layer{weights.read("input_layernorm.weight", std::array{sizes_.width}),
                mixer_.load(weights, make), std::nullopt};
    if (!weights.has("post_attention_layernorm.weight")) return layer;
    const Weights mlp = weights.part("mlp");
    const Rows gate_up[] = {{"gate_proj.weight", sizes_.ffn}, {"up_proj.weight", sizes_.ffn}};
    const Rows down[] = {{"down_proj.weight", sizes_.width}};
    layer.feed_forward.emplace(
        FeedForward{weights.read("post_attention_layernorm.weight", std::array{sizes_.width}),
                    {make(mlp, "gate_up_proj", gate_up, sizes_.width),
                     make(mlp, "down_proj", down, sizes_.ffn)}});
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
