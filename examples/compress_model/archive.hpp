#pragma once

#include "compressed_linear.hpp"
#include <weft/io/safetensors.hpp>

#include <filesystem>

/// Compressed models as safetensors files:
///
///   metadata   format "weft-compressed", model ("sentence_encoder" or the kind of language model),
///              method, group, checksum, and the sizes of the model
///   tensors    of every linear layer X.codes, X.scale, and where it has them X.offset and X.bias;
///              everything else as the model has it
///
///   X.codes    I8 [rows, cols], U8 for floats of 8 bits; of 4-bit methods U8 [rows, ceil(cols /
///   2)], even columns in the
///              lower half of the bytes
///   X.scale    F32 [rows, 1]; of 4-bit methods F16 [rows, ceil(cols / group)]
///   X.offset   F16 like the scale. A weight is scale table[code] + offset
///   X.bias     F32 [rows]
///
/// The checksum is over all metadata and tensors, so that a damaged file is not taken for a model.
namespace compress_model {

class ArchiveWriter {
 public:
  ArchiveWriter(const std::string& model, const Method& method);

  void metadata(const std::string& key, const std::string& value);
  template <class T, std::size_t Rank>
  void add(const std::string& name, View<T, Rank> elements) {
    writer_.add(name, elements);
    Tensor<std::remove_const_t<T>, Rank> packed(elements.shape());
    std::copy_n(elements.data(), elements.size(), packed.data());
    note(name, std::as_bytes(packed.span()));
  }
  void add(const std::string& name, const CompressedLinear& layer);

  /// The file appears whole or not at all. Throws where it cannot be written.
  void save(const std::filesystem::path& path);

 private:
  void note(const std::string& name, std::span<const std::byte> bytes);

  weft::SafetensorsWriter writer_;
  std::map<std::string, std::uint64_t> sums_;
};

/// A file of a compressed model that is undamaged. All errors are weft::error with its name.
class Archive {
 public:
  /// Throws where it is no such file, or not as it was written.
  explicit Archive(const std::filesystem::path& path);

  const weft::SafetensorsFile& file() const noexcept { return file_; }
  const std::string& model() const { return metadata("model"); }
  const Method& method() const noexcept { return method_; }
  const std::string& metadata(const std::string& key) const;
  /// A number from 1 to a million.
  Index size(const std::string& key) const;

  /// Throws where there is no such tensor of this shape, or a number in it is not finite.
  template <std::size_t Rank>
  Tensor<float, Rank> read(const std::string& name, const std::array<Index, Rank>& shape) const {
    auto out = file_.read<float, Rank>(name);
    weft::require(out.shape() == shape, file_.name(), ": tensor \"", name, "\" is ", out.view(),
                  ", wanted ", weft::shape_text(View<float, Rank>(nullptr, shape)));
    check_finite(name, out.span());
    return out;
  }

  /// The linear layer of this name and size, of the file's method.
  CompressedLinear linear(const std::string& name, Index rows, Index cols) const;

 private:
  void check_finite(const std::string& name, std::span<const float> values) const;
  void read_codes(const std::string& name, CompressedLinear& layer) const;

  weft::SafetensorsFile file_;
  Method method_;
};

}  // namespace compress_model
