#pragma once

#include <weft/io/safetensors.hpp>
#include <weft/layer/operator.hpp>

#include <charconv>
#include <span>
#include <string>

namespace generate {

using weft::Index;
using weft::Tensor;
using weft::View;

/// The multiplication by every weight of the model, kept as the file has it.
using Stored = weft::bf16;
using Dense = weft::DenseOperator<Stored>;

/// A weight [rows, cols] of a file, which may be one of several that make one product.
struct Rows {
  const char* name;
  Index rows;
};

/// The tensors of a model file whose names start with a prefix such as "layers.0.mlp.".
class Weights {
 public:
  explicit Weights(const weft::SafetensorsFile& file, std::string prefix = "")
      : file_(&file), prefix_(std::move(prefix)) {}

  Weights part(const std::string& name) const { return Weights(*file_, prefix_ + name + "."); }
  bool has(const std::string& name) const { return file_->contains(prefix_ + name); }
  std::string full_name(const std::string& name) const { return prefix_ + name; }

  /// As stored or as float. Throws when the file has no such tensor of this shape.
  template <class T = float, std::size_t Rank>
  Tensor<T, Rank> read(const std::string& name, const std::array<Index, Rank>& shape) const {
    Tensor<T, Rank> out = file_->read<T, Rank>(prefix_ + name);
    weft::require(out.shape() == shape, file_->name(), ": tensor \"", prefix_, name, "\" is ",
                  out.view(), ", wanted ", shape_text(View<T, Rank>(nullptr, shape)));
    return out;
  }

  /// Weights of the same number of columns, one below the other.
  template <class T = float>
  Tensor<T, 2> read_rows(std::span<const Rows> parts, Index cols) const {
    Index rows = 0;
    for (const Rows& part : parts) rows += part.rows;
    Tensor<T, 2> out({rows, cols});
    T* to = out.data();
    for (const Rows& part : parts) {
      const auto weight = read<T>(part.name, std::array{part.rows, cols});
      to = std::copy_n(weight.data(), weight.size(), to);
    }
    return out;
  }

 private:
  const weft::SafetensorsFile* file_;
  std::string prefix_;
};

/// Where a model gets its operators from: make(weights, name, parts, cols) is the one that does the
/// product of the given weights, and `name` (behind the prefix of `weights`) is what the model
/// calls it. This one takes dense weights from the file.
struct ReadDense {
  Dense operator()(const Weights& weights, const std::string&, std::span<const Rows> parts,
                   Index cols) const {
    return Dense(weights.read_rows<Stored>(parts, cols));
  }
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
