#pragma once

#include "compress.hpp"
#include "language_model.hpp"

/// The code of language_model.hpp, to be included where it is instantiated for a mixer.
namespace compress_model {

namespace detail {

/// Makes SourceOperators from a model's file, and notes which tensors they come from.
struct ReadSource {
  std::set<std::string>* read;

  Linear operator()(const generate::Weights& weights, const std::string&,
                    std::span<const generate::Rows> parts, Index cols) const {
    for (const auto& part : parts) read->insert(weights.full_name(part.name));
    return SourceOperator(weights.read_rows<float>(parts, cols));
  }
};

/// Makes operators from an archive, and keeps what they are made of.
struct ReadCompressed {
  const Archive* archive;
  CompressedLayers* layers;

  Linear operator()(const generate::Weights& weights, const std::string& name,
                    std::span<const generate::Rows> parts, Index cols) const {
    Index rows = 0;
    for (const auto& part : parts) rows += part.rows;
    const std::string full = weights.full_name(name);
    return layers->emplace(full, archive->linear(full, rows, cols)).first->second.make_operator();
  }
};

template <class T>
void copy_tensor(const weft::SafetensorsFile& from, const std::string& name, ArchiveWriter& to) {
  const auto rank = from.info(name).shape.size();
  if (rank == 1) return to.add(name, from.read<T, 1>(name).view());
  if (rank == 2) return to.add(name, from.read<T, 2>(name).view());
  weft::require(rank == 3, from.name(), ": tensor \"", name, "\" has ", rank, " dimensions");
  to.add(name, from.read<T, 3>(name).view());
}

/// Names of the file's tensors that are in neither `read` nor norms that compression may change.
template <class Model>
std::set<std::string> other_tensors(const weft::SafetensorsFile& file, Model& model,
                                    std::set<std::string> read) {
  model.for_each_linear([&](const auto&, const auto&, const auto& norm) {
    for (const auto& parameter : norm) read.insert(parameter.name);
  });
  std::set<std::string> others;
  for (const std::string& name : file.names())
    if (!read.contains(name)) others.insert(name);
  return others;
}

}  // namespace detail

template <class Mixer>
CompressedLanguageModel<Mixer> compress_language_model(
    std::shared_ptr<const weft::SafetensorsFile> file, const Method& method,
    std::span<const std::uint8_t> calibration, const Context& ctx, Progress& progress) {
  using Model = typename CompressedLanguageModel<Mixer>::Model;
  const Index context = generate::sizes_of(*file).context;
  std::set<std::string> read;
  Model model(*file, context, detail::ReadSource{&read});
  Tensor<float, 2> logits({1, generate::kVocabulary});
  const auto run = [&] {
    for (auto rest = calibration; !rest.empty();) {
      const auto count = std::min(rest.size(), static_cast<std::size_t>(context));
      auto state = model.make_state();
      model.prefill(state, rest.first(count), logits, ctx);
      rest = rest.subspan(count);
    }
  };
  auto layers = compress(model, method, run, ctx, progress);
  auto others = detail::other_tensors(*file, model, std::move(read));
  return {method, std::move(model), std::move(layers), std::move(file), std::move(others)};
}

template <class Mixer>
double CompressedLanguageModel<Mixer>::bits_per_byte(std::span<const std::uint8_t> text,
                                                     Index limit, const Context& ctx) const {
  return generate::bits_per_byte(model, text, limit, ctx).bits;
}

template <class Mixer>
void CompressedLanguageModel<Mixer>::read(std::span<const std::uint8_t> text, View<float, 2> logits,
                                          const Context& ctx) const {
  auto state = model.make_state();
  model.prefill(state, text, logits, ctx);
}

template <class Mixer>
void CompressedLanguageModel<Mixer>::save(const std::filesystem::path& path) {
  ArchiveWriter writer(source->metadata().at("kind"), method);
  for (const char* key :
       {"kind", "d_model", "layers", "heads", "kv_heads", "head_dim", "ffn", "context"})
    writer.metadata(key, source->metadata().at(key));
  for (const std::string& name : uncompressed) {
    if (source->info(name).dtype == weft::Dtype::BF16)
      detail::copy_tensor<weft::bf16>(*source, name, writer);
    else
      detail::copy_tensor<float>(*source, name, writer);
  }
  model.for_each_linear([&](const std::string& name, const Linear&, const auto& norm) {
    for (const auto& parameter : norm) writer.add(parameter.name, parameter.values);
    writer.add(name, layers.at(name));
  });
  writer.save(path);
}

template <class Mixer>
CompressedLanguageModel<Mixer> load_language_model(const std::filesystem::path& path,
                                                   const std::string& kind) {
  using Model = typename CompressedLanguageModel<Mixer>::Model;
  const auto archive = std::make_shared<const Archive>(path);
  weft::require(archive->model() == kind, archive->file().name(), ": a model of kind \"",
                archive->model(), "\", wanted ", kind);
  const std::shared_ptr<const weft::SafetensorsFile> file(archive, &archive->file());
  CompressedLayers layers;
  Model model(*file, archive->size("context"), detail::ReadCompressed{archive.get(), &layers});
  std::set<std::string> read;
  for (const auto& [name, layer] : layers)
    for (const char* part : {".codes", ".scale", ".offset", ".bias"}) read.insert(name + part);
  auto others = detail::other_tensors(*file, model, std::move(read));
  return {archive->method(), std::move(model), std::move(layers), file, std::move(others)};
}

}  // namespace compress_model
