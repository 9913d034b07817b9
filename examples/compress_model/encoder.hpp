#pragma once

#include "archive.hpp"
#include "progress.hpp"
#include "sentence_encoder/model.hpp"

namespace compress_model {

/// The sentence encoder on operators that are chosen at run time.
using Encoder = sentence_encoder::BasicSentenceEncoder<Linear>;
using Sentence = std::vector<std::int32_t>;  ///< token ids

struct CompressedEncoder {
  Method method;
  Encoder model;
  CompressedLayers layers;

  /// Writes all that `load_encoder` needs: embeddings and norms as floats, and the layers.
  void save(const std::filesystem::path& path);
};

/// Compresses all linear layers; embeddings, positions and norms stay floats. Methods that
/// calibrate look at the given sentences.
CompressedEncoder compress_encoder(const sentence_encoder::Weights& weights, const Method& method,
                                   std::span<const Sentence> calibration, const Context& ctx,
                                   Progress& progress);

/// Reads what `save` wrote: the same model, bit for bit. Throws where the file is damaged or of
/// something else.
CompressedEncoder load_encoder(const std::filesystem::path& path);

}  // namespace compress_model

namespace sentence_encoder {
extern template class BasicSentenceEncoder<compress_model::Linear>;
}
