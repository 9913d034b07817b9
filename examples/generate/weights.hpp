#pragma once

#include <weft/io/safetensors.hpp>

#include <charconv>
#include <string>

namespace generate {

using weft::Index;
using weft::Tensor;
using weft::View;

/// The tensors of a model file whose names start with a prefix such as "layers.0.mlp.".
class Weights {
 public:
  explicit Weights(const weft::SafetensorsFile& file, std::string prefix = "")
      : file_(&file), prefix_(std::move(prefix)) {}

  Weights part(const std::string& name) const { return Weights(*file_, prefix_ + name + "."); }
  bool has(const std::string& name) const { return file_->contains(prefix_ + name); }

  /// As stored or as float. Throws when the file has no such tensor of this shape.
  template <class T = float, std::size_t Rank>
  Tensor<T, Rank> read(const std::string& name, const std::array<Index, Rank>& shape) const {
    Tensor<T, Rank> out = file_->read<T, Rank>(prefix_ + name);
    weft::require(out.shape() == shape, file_->name(), ": tensor \"", prefix_, name, "\" is ",
                  out.view(), ", wanted ", shape_text(View<T, Rank>(nullptr, shape)));
    return out;
  }

 private:
  const weft::SafetensorsFile* file_;
  std::string prefix_;
};

/// What the metadata of a model file say.
struct Sizes {
  Index width;  ///< channels of a token, d_model
  Index layers;
  Index heads;     ///< query heads
  Index kv_heads;  ///< key and value heads
  Index head_dim;
  Index ffn;      ///< hidden channels of the feed-forward layers
  Index context;  ///< tokens of a training sequence
};

namespace detail {

inline const std::string& metadata(const weft::SafetensorsFile& file, const std::string& key) {
  const auto at = file.metadata().find(key);
  weft::require(at != file.metadata().end(), file.name(), ": no metadata entry \"", key,
                "\"; is this a weft-lm model?");
  return at->second;
}

inline Index size(const weft::SafetensorsFile& file, const std::string& key) {
  const std::string& text = metadata(file, key);
  Index value = 0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), value);
  weft::require(
      trouble == std::errc() && end == text.data() + text.size() && value > 0 && value < 1000000,
      file.name(), ": metadata entry \"", key, "\" is ", text, ", wanted a positive number");
  return value;
}

}  // namespace detail

/// Which mixer the file is for: "softmax". Throws when it is no model of this program.
inline const std::string& kind_of(const weft::SafetensorsFile& file) {
  weft::require(detail::metadata(file, "format") == "weft-lm", file.name(), ": format is ",
                detail::metadata(file, "format"), ", wanted weft-lm");
  return detail::metadata(file, "kind");
}

inline Sizes sizes_of(const weft::SafetensorsFile& file) {
  const auto size = [&](const char* key) { return detail::size(file, key); };
  return {size("d_model"),  size("layers"), size("heads"),  size("kv_heads"),
          size("head_dim"), size("ffn"),    size("context")};
}

}  // namespace generate
