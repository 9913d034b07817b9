#pragma once

#include <weft/core/tensor.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace sentence_encoder {

/// The tensors of a TensorFlow.js model folder: `model.json` says in `weightsManifest` which
/// tensors stand, one after another and without gaps, in which shard files. Only float32 and int32
/// occur.
class TfjsModel {
 public:
  /// Reads everything. Throws weft::error naming the file that is missing, malformed, truncated or
  /// too long.
  explicit TfjsModel(const std::filesystem::path& folder);

  /// Extents of a float32 tensor. This and the following throw weft::error when there is no tensor
  /// of that name, or when it has another type or shape (where leading extents of 1 are
  /// overlooked).
  const std::vector<weft::Index>& shape(const std::string& name, std::size_t rank) const;
  weft::View<const float, 1> vector(const std::string& name, weft::Index size) const;
  weft::View<const float, 2> matrix(const std::string& name, weft::Index rows,
                                    weft::Index cols) const;
  float number(const std::string& name) const;
  std::int32_t integer(const std::string& name) const;

  /// The memory that all views look into.
  weft::Tensor<float, 1> release() && { return std::move(words_); }

 private:
  enum class Type { float32, int32 };
  struct Entry {
    Type type;
    std::vector<weft::Index> shape;
    weft::Index begin;  // in 4-byte words
  };

  const Entry& find(const std::string& name, Type type) const;
  const float* find(const std::string& name, Type type,
                    const std::vector<weft::Index>& shape) const;

  std::string folder_;
  std::map<std::string, Entry> entries_;
  weft::Tensor<float, 1> words_;
};

}  // namespace sentence_encoder
