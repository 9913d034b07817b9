#include "encoder.hpp"

#include "compress.hpp"
#include "sentence_encoder/model_run.hpp"

#include <charconv>

namespace sentence_encoder {
template class BasicSentenceEncoder<compress_model::Linear>;
}

namespace compress_model {

namespace {

constexpr const char* kModel = "sentence_encoder";

/// The widths of a model, as a file has them.
struct Widths {
  Index vocabulary, narrow, wide, hidden;
};

/// A number of 1 to 9 digits and an exponent, such as 1e-06.
std::string text_of(float number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

float positive_number(const Archive& archive, const std::string& key) {
  const std::string& text = archive.metadata(key);
  float value = 0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), value);
  weft::require(trouble == std::errc() && end == text.data() + text.size() && value > 0,
                archive.file().name(), ": metadata entry \"", key, "\" is ", text,
                ", wanted a positive number");
  return value;
}

/// Reads the layers of an archive, and notes them.
class Reader {
 public:
  Reader(const Archive& archive, CompressedLayers& layers)
      : archive_(archive),
        layers_(layers),
        n_{archive.size("vocabulary"), archive.size("narrow"), archive.size("wide"),
           archive.size("hidden")},
        epsilon_(positive_number(archive, "norm_epsilon")) {}

  sentence_encoder::Parts<Linear> parts() {
    return {archive_.read("embedding", std::array{n_.vocabulary, n_.narrow}),
            linear("residual", n_.wide, n_.narrow),
            {layer("layers.0.", n_.narrow), layer("layers.1.", n_.wide)},
            linear("pooled", n_.wide, n_.wide),
            archive_.size("heads"),
            archive_.size("max_tokens")};
  }

 private:
  sentence_encoder::Layer<Linear> layer(const std::string& name, Index in) {
    return {norm(name + "attention_norm", in),
            linear(name + "qkv", 3 * in, in),
            linear(name + "attention_out", n_.wide, in),
            norm(name + "hidden_norm", n_.wide),
            {linear(name + "hidden_in", n_.hidden, n_.wide),
             linear(name + "hidden_out", n_.wide, n_.hidden)}};
  }
  sentence_encoder::Norm norm(const std::string& name, Index width) const {
    return {archive_.read(name + ".scale", std::array{width}),
            archive_.read(name + ".bias", std::array{width}), epsilon_};
  }
  Linear linear(const std::string& name, Index rows, Index cols) {
    const auto [at, fresh] = layers_.emplace(name, archive_.linear(name, rows, cols));
    return at->second.make_operator();
  }

  const Archive& archive_;
  CompressedLayers& layers_;
  Widths n_;
  float epsilon_;
};

}  // namespace

CompressedEncoder compress_encoder(const sentence_encoder::Weights& weights, const Method& method,
                                   std::span<const Sentence> calibration, const Context& ctx,
                                   Progress& progress) {
  Encoder model(sentence_encoder::make_parts(
      weights, [](const View<const float, 2>& weight, const View<const float, 1>& bias) {
        return Linear(SourceOperator(weight, bias));
      }));
  Tensor<float, 2> out({static_cast<Index>(calibration.size()), model.width()});
  const auto run = [&] { model.encode(calibration, out, ctx); };
  auto layers = compress(model, method, run, ctx, progress);
  return {method, std::move(model), std::move(layers)};
}

void CompressedEncoder::save(const std::filesystem::path& path) {
  const auto& parts = model.parts();
  ArchiveWriter writer(kModel, method);
  const auto number = [&](const char* key, Index value) {
    writer.metadata(key, std::to_string(value));
  };
  number("vocabulary", parts.embedding.extent(0));
  number("narrow", parts.embedding.extent(1));
  number("wide", model.width());
  number("hidden", layers.at("layers.0.hidden_in").rows);
  number("heads", parts.heads);
  number("max_tokens", parts.max_tokens);
  writer.metadata("norm_epsilon", text_of(parts.layers[0].hidden_norm.epsilon));
  writer.add("embedding", parts.embedding.view());
  model.for_each_linear([&](const std::string& name, const Linear&, const auto& norm) {
    for (const auto& parameter : norm) writer.add(parameter.name, parameter.values);
    writer.add(name, layers.at(name));
  });
  writer.save(path);
}

CompressedEncoder load_encoder(const std::filesystem::path& path) {
  const Archive archive(path);
  weft::require(archive.model() == kModel, archive.file().name(), ": a model of kind \"",
                archive.model(), "\", wanted ", kModel);
  CompressedLayers layers;
  Encoder model(Reader(archive, layers).parts());
  return {archive.method(), std::move(model), std::move(layers)};
}

}  // namespace compress_model
