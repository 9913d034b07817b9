#pragma once

#include <weft/core/tensor.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

namespace sentence_encoder {

using Vector = weft::View<const float, 1>;
using Matrix = weft::View<const float, 2>;
using Storage = std::vector<weft::Tensor<float, 1>>;

/// One transformer layer that reads rows of width I and writes rows of width D.
struct LayerWeights {
  Vector attention_norm_scale, attention_norm_bias;  ///< [I]
  Matrix qkv;                                        ///< [I, 3 I], columns q, k, v
  Vector qkv_bias;                                   ///< [3 I]
  Matrix attention_out;                              ///< [I, D]
  Vector attention_out_bias;                         ///< [D]
  Vector hidden_norm_scale, hidden_norm_bias;        ///< [D]
  Matrix hidden_in;                                  ///< [D, F]
  Vector hidden_in_bias;                             ///< [F]
  Matrix hidden_out;                                 ///< [F, D]
  Vector hidden_out_bias;                            ///< [D]
};

/// All weights of a model; what they do stands in model.hpp. The views look into `storage`.
struct Weights {
  Matrix embedding;      ///< [vocabulary, I of layer 0]
  Matrix residual;       ///< [I, D] of layer 0, widens its residual
  Vector residual_bias;  ///< [D]
  std::array<LayerWeights, 2> layers;
  Matrix pooled;       ///< [D, D], the last layer
  Vector pooled_bias;  ///< [D]
  weft::Index heads = 4;
  weft::Index max_tokens = 128;  ///< longer sentences are clipped to this
  float norm_epsilon = 1e-6f;
  Storage storage;
};

/// Reads `model.json` (its weight manifest) and the shards beside it, as TensorFlow.js writes them.
///
/// Throws weft::error that names the file when one is missing, is no such model or does not have
/// the size that the manifest promises, and the tensor when one is missing or has another shape.
Weights load_weights(const std::filesystem::path& folder);

/// The widths of a model; by default those of the published one.
struct Sizes {
  weft::Index vocabulary = 8002;
  weft::Index narrow = 256;   ///< I of layer 0
  weft::Index wide = 512;     ///< D
  weft::Index hidden = 1536;  ///< F
};

/// The same structure with random weights, which are equal for equal arguments.
Weights random_weights(const Sizes& sizes, std::uint64_t seed);

}  // namespace sentence_encoder
