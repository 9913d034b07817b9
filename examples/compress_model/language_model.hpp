#pragma once

#include "archive.hpp"
#include "generate/evaluation.hpp"
#include "progress.hpp"

#include <memory>
#include <set>

namespace compress_model {

/// A language model of examples/generate on operators that are chosen at run time: `Mixer` is
/// generate::BasicSoftmaxMixer<Linear> or BasicDeltaNetMixer<Linear>.
template <class Mixer>
struct CompressedLanguageModel {
  using Model = generate::LanguageModel<Mixer>;

  Method method;
  Model model;
  CompressedLayers layers;
  std::shared_ptr<const weft::SafetensorsFile> source;  ///< has what is not compressed
  std::set<std::string> uncompressed;                   ///< names of tensors there

  /// See generate/evaluation.hpp.
  double bits_per_byte(std::span<const std::uint8_t> text, Index limit, const Context& ctx) const;

  /// Reads a text of at most the model's context from an empty state. logits [n, 256] of the bytes
  /// after each of its n bytes, or [1, 256] of the byte after the last.
  void read(std::span<const std::uint8_t> text, View<float, 2> logits, const Context& ctx) const;

  /// Writes all that `load` needs: the layers, and everything else as the model has it.
  void save(const std::filesystem::path& path);
};

/// Compresses all linear layers but the last, which is the embedding table; that and the norms stay
/// floats. Methods that calibrate read the given text in windows of the model's context.
template <class Mixer>
CompressedLanguageModel<Mixer> compress_language_model(
    std::shared_ptr<const weft::SafetensorsFile> file, const Method& method,
    std::span<const std::uint8_t> calibration, const Context& ctx, Progress& progress);

/// Reads what `save` wrote: the same model, bit for bit. Throws where the file is damaged or of
/// something else than a model of this kind.
template <class Mixer>
CompressedLanguageModel<Mixer> load_language_model(const std::filesystem::path& path,
                                                   const std::string& kind);

}  // namespace compress_model
