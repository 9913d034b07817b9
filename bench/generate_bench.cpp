#include "generate/deltanet_mixer.hpp"
#include "generate/softmax_mixer.hpp"
#include "support/row.hpp"

#include <memory>

/// example/generate/...: the language model of examples/generate, whole.
namespace {

using bench::Floor;
using bench::Index;
using generate::kVocabulary;
using Model = generate::LanguageModel<generate::SoftmaxMixer>;

const Model& model() {
  static const Model loaded(weft::SafetensorsFile(WEFT_EXAMPLE_DATA "/softmax.safetensors"), 256);
  return loaded;
}

/// Weights that every token is multiplied with: all but the norms.
constexpr Index kWeights = 4 * (128 * 256 + 128 * 128 + 3 * 128 * 352) + 128 * 256;

/// Operations on `tokens` tokens of which each sees `keys` keys on average.
double operations(double tokens, double keys) {
  const double attention = 4 * 4 * 2 * 32 * 2 * keys;  // layers, heads, q k^T and p v
  return tokens * (2.0 * kWeights + attention);
}

std::vector<std::uint8_t> text_of(Index length) {
  std::vector<std::uint8_t> text;
  for (Index t = 0; t < length; ++t) text.push_back(static_cast<std::uint8_t>('a' + t % 26));
  return text;
}

struct Run {
  Model::State state = model().make_state();
  weft::Tensor<float, 2> logits{{1, kVocabulary}};
  std::vector<std::uint8_t> text;

  explicit Run(Index length) : text(text_of(length)) {}

  void forget_from(Index length) {
    for (auto& layer : state.layers) layer.truncate(length);
  }
};

void add_step(Index keys) {
  bench::Row{.name = bench::row_name("example/generate/step/f32", {{"keys", keys}}),
             .flops = operations(1, static_cast<double>(keys)),
             .bytes = 2.0 * kWeights + 4.0 * 4 * 2 * 64 * static_cast<double>(keys),
             .floor = Floor::read}
      .add([keys](const weft::Context& ctx) {
        auto run = std::make_shared<Run>(keys - 1);
        model().prefill(run->state, run->text, run->logits, ctx);
        return [run, keys, &ctx] {
          model().step(run->state, 'e', run->logits, ctx);
          run->forget_from(keys - 1);
        };
      });
}

void add_prefill(Index tokens, int threads) {
  const auto n = static_cast<double>(tokens);
  bench::Row{.name = bench::row_name("example/generate/prefill/f32",
                                     {{"tokens", tokens}, {"threads", threads}}),
             .flops = operations(n, (n + 1) / 2),
             .threads = threads}
      .add([tokens](const weft::Context& ctx) {
        auto run = std::make_shared<Run>(tokens);
        return [run, &ctx] {
          model().prefill(run->state, run->text, run->logits, ctx);
          run->forget_from(0);
        };
      });
}

/// A token after `context` bytes of text, by the model of the file: one with a cache of keys, which
/// forgets the token again, beside one with a state of constant size.
template <class Mixer>
void add_after(const char* file, Index context) {
  bench::Row{.name = bench::row_name(std::string("example/generate/step_after/") + file + "/bf16",
                                     {{"context", context}})}
      .add([=](const weft::Context& ctx) {
        using Kind = generate::LanguageModel<Mixer>;
        const std::string path = std::string(WEFT_EXAMPLE_DATA "/") + file + ".safetensors";
        auto whole = std::make_shared<Kind>(weft::SafetensorsFile(path), context + 1);
        auto state = std::make_shared<typename Kind::State>(whole->make_state());
        auto logits =
            std::make_shared<weft::Tensor<float, 2>>(weft::Tensor<float, 2>{{1, kVocabulary}});
        whole->prefill(*state, text_of(context), *logits, ctx);
        return [=, &ctx] {
          whole->step(*state, 'e', *logits, ctx);
          for (auto& layer : state->layers)
            if constexpr (requires { layer.truncate(context); }) layer.truncate(context);
        };
      });
}

const bench::Rows rows([] {
  for (const Index keys : {16, 128, 256}) add_step(keys);
  for (const Index tokens : {16, 64, 256}) add_prefill(tokens, 1);
  add_prefill(256, 2);
  for (const Index context : {200, 2000, 20000}) {
    add_after<generate::SoftmaxMixer>("softmax", context);
    add_after<generate::DeltaNetMixer>("deltanet", context);
  }
});

}  // namespace
