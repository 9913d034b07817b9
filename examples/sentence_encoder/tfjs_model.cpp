#include "tfjs_model.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <numeric>

namespace sentence_encoder {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using weft::Index;

constexpr Index kWord = 4;  // bytes of a float32 or int32

json parse_file(const fs::path& file) {
  std::ifstream in(file);
  weft::require(in.good(), "cannot open ", file.string(),
                "; the model folder must hold model.json, its shards and vocab.json");
  try {
    return json::parse(in);
  } catch (const json::exception& cause) {
    weft::fail(file.string() + ": not JSON: " + cause.what());
  }
}

Index count(const std::vector<Index>& shape) {
  return std::accumulate(shape.begin(), shape.end(), Index{1}, std::multiplies<>());
}

std::string text_of(const std::vector<Index>& shape) {
  std::string text = "[";
  for (Index n : shape) text += (text.size() == 1 ? "" : ", ") + std::to_string(n);
  return text + "]";
}

std::vector<Index> read_shape(const json& extents, const std::string& name) {
  auto shape = extents.get<std::vector<Index>>();
  Index size = 1;
  for (Index n : shape) {
    weft::require(n >= 0 && (n == 0 || size <= std::numeric_limits<int>::max() / n), "tensor ",
                  name, " has the impossible shape ", text_of(shape));
    size *= n;
  }
  return shape;
}

/// The files that hold one group of tensors, end to end.
struct Shards {
  std::vector<fs::path> files;
  std::vector<Index> sizes;
  Index bytes = 0;  // that the group needs
};

Index size_of(const fs::path& shard) {
  std::error_code trouble;
  const auto size = fs::file_size(shard, trouble);
  weft::require(!trouble, "cannot open the shard ", shard.string(), ": ", trouble.message());
  return static_cast<Index>(size);
}

/// The file at fault when shards are too short: all but the last are cut at the same size.
const fs::path& shortest(const Shards& shards) {
  const Index cut = *std::max_element(shards.sizes.begin(), shards.sizes.end());
  for (std::size_t i = 0; i + 1 < shards.files.size(); ++i) {
    if (shards.sizes[i] < cut) return shards.files[i];
  }
  return shards.files.back();
}

Shards find_shards(const fs::path& folder, const json& paths, Index bytes) {
  Shards shards;
  shards.bytes = bytes;
  for (const json& path : paths) {
    const fs::path file = path.get<std::string>();
    weft::require(file == file.filename(), "the shard ", file.string(), " of ", folder.string(),
                  "/model.json lies outside the folder");
    shards.files.push_back(folder / file);
    shards.sizes.push_back(size_of(shards.files.back()));
  }
  weft::require(!shards.files.empty(), folder.string(), "/model.json names no shards");
  const Index total = std::accumulate(shards.sizes.begin(), shards.sizes.end(), Index{0});
  weft::require(total >= bytes, "the shard ", shortest(shards).string(),
                " is truncated: all shards together hold ", total, " bytes, model.json promises ",
                bytes);
  weft::require(total == bytes, "the shards of ", folder.string(), " hold ", total,
                " bytes, model.json promises ", bytes, "; they belong to different models");
  return shards;
}

void read_shards(const Shards& shards, char* to) {
  for (std::size_t i = 0; i < shards.files.size(); to += shards.sizes[i++]) {
    std::ifstream in(shards.files[i], std::ios::binary);
    weft::require(in.read(to, shards.sizes[i]).good(), "cannot read the shard ",
                  shards.files[i].string());
  }
}

}  // namespace

TfjsModel::TfjsModel(const fs::path& folder) : folder_(folder.string()) {
  const json model = parse_file(folder / "model.json");
  std::vector<Shards> groups;
  Index words = 0;
  try {
    for (const json& group : model.at("weightsManifest")) {
      const Index begin = words;
      for (const json& weight : group.at("weights")) {
        const auto name = weight.at("name").get<std::string>();
        const auto dtype = weight.at("dtype").get<std::string>();
        weft::require(dtype == "float32" || dtype == "int32", "tensor ", name, " is of type ",
                      dtype, ", wanted float32 or int32");
        weft::require(!weight.contains("quantization"), "tensor ", name,
                      " is quantized, wanted plain numbers");
        const Type type = dtype == "int32" ? Type::int32 : Type::float32;
        const auto& entry = entries_[name] = {type, read_shape(weight.at("shape"), name), words};
        words += count(entry.shape);
      }
      groups.push_back(find_shards(folder, group.at("paths"), (words - begin) * kWord));
    }
  } catch (const json::exception& cause) {
    weft::fail(folder_ + "/model.json: not a TensorFlow.js weight manifest: " + cause.what());
  }
  words_ = weft::Tensor<float, 1>({words});
  auto* to = reinterpret_cast<char*>(words_.data());
  for (const Shards& group : groups) {
    read_shards(group, to);
    to += group.bytes;
  }
}

const std::vector<Index>& TfjsModel::shape(const std::string& name, std::size_t rank) const {
  const std::vector<Index>& shape = find(name, Type::float32).shape;
  weft::require(shape.size() == rank, folder_, "/model.json: tensor ", name, " has shape ",
                text_of(shape), ", wanted ", rank, " dimensions");
  return shape;
}

weft::View<const float, 1> TfjsModel::vector(const std::string& name, Index size) const {
  return {find(name, Type::float32, {size}), {size}};
}

weft::View<const float, 2> TfjsModel::matrix(const std::string& name, Index rows,
                                             Index cols) const {
  return {find(name, Type::float32, {rows, cols}), {rows, cols}};
}

float TfjsModel::number(const std::string& name) const { return *find(name, Type::float32, {}); }

std::int32_t TfjsModel::integer(const std::string& name) const {
  std::int32_t value = 0;
  std::memcpy(&value, find(name, Type::int32, {}), sizeof value);
  return value;
}

const TfjsModel::Entry& TfjsModel::find(const std::string& name, Type type) const {
  const auto entry = entries_.find(name);
  weft::require(entry != entries_.end(), folder_, "/model.json: there is no tensor ", name,
                "; is this the Universal Sentence Encoder Lite?");
  weft::require(entry->second.type == type, folder_, "/model.json: tensor ", name,
                " has another element type");
  return entry->second;
}

const float* TfjsModel::find(const std::string& name, Type type,
                             const std::vector<Index>& shape) const {
  const Entry& entry = find(name, type);
  auto begin = entry.shape.begin();
  const auto rank = static_cast<std::ptrdiff_t>(shape.size());
  while (entry.shape.end() - begin > rank && *begin == 1) ++begin;
  weft::require(std::equal(begin, entry.shape.end(), shape.begin(), shape.end()), folder_,
                "/model.json: tensor ", name, " has shape ", text_of(entry.shape), ", wanted ",
                text_of(shape));
  return words_.data() + entry.begin;
}

}  // namespace sentence_encoder
