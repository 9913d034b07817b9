#include "weights.hpp"

#include "tfjs_model.hpp"
#include <weft/core/random.hpp>

#include <cmath>
#include <string>

namespace sentence_encoder {

namespace {

using weft::Index;

/// The published model: tensors by name, of which it checks the shapes.
class Published {
 public:
  explicit Published(const TfjsModel& model) : model_(model) {}
  Matrix matrix(const std::string& name, Index rows, Index cols) {
    return model_.matrix(name, rows, cols);
  }
  Vector bias(const std::string& name, Index size) { return model_.vector(name, size); }
  Vector scale(const std::string& name, Index size) { return model_.vector(name, size); }

 private:
  const TfjsModel& model_;
};

/// Random matrices that keep the size of what they multiply, biases 0, scales 1.
class Random {
 public:
  Random(std::uint64_t seed, Storage& storage) : seed_(seed), storage_(storage) {}

  Matrix matrix(const std::string&, Index rows, Index cols) {
    const std::span<float> values = take(rows * cols);
    const float spread = 1.f / std::sqrt(static_cast<float>(rows));
    weft::Philox(seed_, storage_.size()).normal(values);
    for (float& value : values) value *= spread;
    return {values.data(), {rows, cols}};
  }
  Vector bias(const std::string&, Index size) { return constant(0.f, size); }
  Vector scale(const std::string&, Index size) { return constant(1.f, size); }

 private:
  std::span<float> take(Index size) {
    storage_.emplace_back(std::array{size});
    return storage_.back().span();
  }
  Vector constant(float value, Index size) {
    const std::span<float> values = take(size);
    std::fill(values.begin(), values.end(), value);
    return {values.data(), {size}};
  }

  std::uint64_t seed_;
  Storage& storage_;
};

const std::string kGraph = "module_apply_default/Encoder_en/KonaTransformer/Encode/";
const std::string kVariables = "module/Encoder_en/KonaTransformer/Encode/";
const std::string kEmbedding = "module/Embeddings_en";
const std::string kPooled = "module/Encoder_en/hidden_layers/tanh_layer_0/";
const std::string kConcat = "/ConcatPartitions/concat";
const std::string kNorm = "layer_prepostprocess/layer_norm/layer_norm_";

template <class Source>
LayerWeights assemble_layer(Source& source, const std::string& layer, Index in, const Sizes& n) {
  const std::string block = layer + "/TransformerLayer/";
  const std::string own = kGraph + block;
  const std::string attention = own + "MultiheadAttention/";
  const std::string kernels = kVariables + block + "MultiheadAttention/";
  const std::string dense = kGraph + "TransformerStack/" + block + "FFN/";
  LayerWeights w;
  w.attention_norm_scale = source.scale(own + kNorm + "scale" + kConcat, in);
  w.attention_norm_bias = source.bias(own + kNorm + "bias" + kConcat, in);
  w.qkv = source.matrix(kernels + "qkv_transform_single/kernel/part_0", in, 3 * in);
  w.qkv_bias = source.bias(attention + "qkv_transform_single/bias" + kConcat, 3 * in);
  w.attention_out = source.matrix(kernels + "output_transform_single/kernel/part_0", in, n.wide);
  w.attention_out_bias = source.bias(attention + "output_transform_single/bias" + kConcat, n.wide);
  w.hidden_norm_scale = source.scale(own + "FFN/" + kNorm + "scale" + kConcat, n.wide);
  w.hidden_norm_bias = source.bias(own + "FFN/" + kNorm + "bias" + kConcat, n.wide);
  w.hidden_in = source.matrix(dense + "conv1/Tensordot/Reshape_1", n.wide, n.hidden);
  w.hidden_in_bias = source.bias(own + "FFN/conv1/bias" + kConcat, n.hidden);
  w.hidden_out = source.matrix(dense + "conv2/Tensordot/Reshape_1", n.hidden, n.wide);
  w.hidden_out_bias = source.bias(own + "FFN/conv2/bias" + kConcat, n.wide);
  return w;
}

template <class Source>
void assemble(Source source, const Sizes& n, Weights& w) {
  const std::string residual = kGraph + "Layer_0/TransformerLayer/dense/";
  w.embedding = source.matrix(kEmbedding, n.vocabulary, n.narrow);
  w.residual = source.matrix(residual + "kernel" + kConcat, n.narrow, n.wide);
  w.residual_bias = source.bias(residual + "bias" + kConcat, n.wide);
  w.layers = {assemble_layer(source, "Layer_0", n.narrow, n),
              assemble_layer(source, "Layer_1", n.wide, n)};
  w.pooled = source.matrix(kPooled + "weights", n.wide, n.wide);
  w.pooled_bias = source.bias(kPooled + "bias", n.wide);
}

/// The four sizes, from the tensors that show them; all others must agree.
Sizes sizes_of(const TfjsModel& model) {
  const auto& embedding = model.shape(kEmbedding, 2);
  const auto& pooled = model.shape(kPooled + "weights", 2);
  const auto& hidden = model.shape(kGraph + "Layer_0/TransformerLayer/FFN/conv1/bias" + kConcat, 1);
  return {embedding[0], embedding[1], pooled[1], hidden[0]};
}

}  // namespace

Weights load_weights(const std::filesystem::path& folder) {
  TfjsModel model(folder);
  const std::string stack = kGraph + "TransformerStack/Layer_1/TransformerLayer/";
  Weights w;
  w.heads =
      model.integer(stack + "MultiheadAttention/split_heads/split_last_dimension/Reshape/shape/2");
  w.norm_epsilon = model.number(stack + "FFN/layer_prepostprocess/layer_norm/Cast/x");
  w.max_tokens =
      model.integer("module_apply_default/Encoder_en/KonaTransformer/ClipToMaxLength/Less/y");
  assemble(Published(model), sizes_of(model), w);
  w.storage.push_back(std::move(model).release());
  return w;
}

Weights random_weights(const Sizes& sizes, std::uint64_t seed) {
  Weights w;
  assemble(Random(seed, w.storage), sizes, w);
  return w;
}

}  // namespace sentence_encoder
