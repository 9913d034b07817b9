#pragma once

#include <weft/io/element_type.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft {

/// One tensor of a safetensors file.
struct TensorInfo {
  Dtype dtype{};
  std::vector<Index> shape;
  std::span<const std::byte> bytes;  ///< packed row-major elements, at any alignment
};

/// The parsed and validated header of a safetensors file, whose layout is
///   u64 n | n bytes of JSON, padded with spaces | data
/// where the JSON is
///   {"__metadata__": {key: string}, name: {"dtype": D, "shape": S, "data_offsets": [begin, end]}}
/// and offsets are counted from the start of the data. Accepted only when every byte of the data
/// belongs to exactly one tensor and every tensor has as many bytes as its type and shape need.
struct SafetensorsHeader {
  std::map<std::string, std::string> metadata;
  std::map<std::string, TensorInfo, std::less<>> tensors;
};

/// Parses the whole file. Throws weft::error naming `file` and, where there is one, the tensor, on
/// any violation of the above: a header longer than the file or than 100 MB, JSON of any other form
/// (duplicate and unknown keys included), unknown types, sizes that overflow, overlaps, holes.
/// Memory and time are linear in the header's length for every input.
SafetensorsHeader parse_safetensors(std::span<const std::byte> contents, std::string_view file);

namespace detail {

inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;

/// Receives the JSON events of a header. Works without building a document, so a hostile header
/// cannot nest deep or repeat a key unseen. Every callback returns false after the first error,
/// which stops the parser.
class SafetensorsEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  struct Entry {
    std::optional<std::string> dtype;
    std::optional<std::vector<Index>> shape;
    std::optional<std::vector<Index>> offsets;
  };

  std::map<std::string, std::string> metadata;
  std::map<std::string, Entry, std::less<>> entries;
  std::string problem;  ///< empty when the header was accepted

  bool start_object(std::size_t) override {
    switch (place_) {
      case Place::outside: return move_to(Place::root);
      case Place::root: return move_to(key_ == "__metadata__" ? Place::metadata : Place::tensor);
      default: return unexpected("an object");
    }
  }

  bool end_object() override {
    return move_to(place_ == Place::root ? Place::outside : Place::root);
  }

  bool key(string_t& name) override {
    if (place_ == Place::root) return new_entry(name);
    key_ = name;
    if (place_ != Place::metadata) return true;
    return metadata.try_emplace(name).second || problem_in("the key \"" + name + "\" comes twice");
  }

  bool string(string_t& text) override {
    if (place_ == Place::metadata) {
      metadata[key_] = text;
      return true;
    }
    if (place_ == Place::tensor && key_ == "dtype") return set(entry().dtype, text);
    return unexpected("a string");
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::tensor) return unexpected("an array");
    list_ = key_ == "shape" ? &entry().shape : key_ == "data_offsets" ? &entry().offsets : nullptr;
    if (list_ == nullptr) return unexpected("an array");
    return set(*list_, std::vector<Index>{}) && move_to(Place::list);
  }

  bool end_array() override { return move_to(Place::tensor); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::list) return unexpected("a number");
    if (!std::in_range<Index>(value)) return problem_in("the number is too large");
    (*list_)->push_back(static_cast<Index>(value));
    return true;
  }

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return unexpected("a fractional number");
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    problem = "the header is not JSON: syntax error at byte " + std::to_string(position);
    return false;
  }

 private:
  enum class Place { outside, root, metadata, tensor, list };

  bool move_to(Place place) {
    place_ = place;
    return true;
  }

  Entry& entry() { return entries.find(name_)->second; }

  bool new_entry(const std::string& name) {
    key_ = name_ = name;
    const bool fresh = name == "__metadata__" ? !std::exchange(has_metadata_, true)
                                              : entries.try_emplace(name).second;
    return fresh || problem_in("comes twice");
  }

  template <class T>
  bool set(std::optional<T>& field, T value) {
    if (field) return problem_in("the key \"" + key_ + "\" comes twice");
    field = std::move(value);
    return true;
  }

  bool unexpected(const std::string& what) {
    return problem_in("unexpected " + what +
                      (key_ == name_ ? std::string() : " at the key \"" + key_ + "\""));
  }

  bool problem_in(const std::string& text) {
    problem = (place_ == Place::outside ? "the header" : "tensor \"" + name_ + "\"") + ": " + text;
    return false;
  }

  Place place_ = Place::outside;
  bool has_metadata_ = false;
  std::string name_;  ///< the key in the root object
  std::string key_;   ///< the innermost key
  std::optional<std::vector<Index>>* list_ = nullptr;
};

/// Turns one entry into a TensorInfo, or throws with `where` = file and tensor.
inline TensorInfo checked_info(const SafetensorsEvents::Entry& entry,
                               std::span<const std::byte> data, const std::string& where) {
  require(entry.dtype && entry.shape && entry.offsets, where,
          ": an entry needs dtype, shape and data_offsets");
  const std::optional<Dtype> dtype = dtype_named(*entry.dtype);
  require(dtype.has_value(), where, ": unknown dtype \"", *entry.dtype, "\"");
  const std::vector<Index>& offsets = *entry.offsets;
  require(offsets.size() == 2 && offsets[0] <= offsets[1], where,
          ": data_offsets must be [begin, end] with begin <= end");
  require(std::cmp_less_equal(offsets[1], data.size()), where, ": data_offsets end at ", offsets[1],
          ", the file has ", data.size(), " bytes of data");
  const std::optional<Index> bytes = packed_bytes(*dtype, *entry.shape);
  require(bytes.has_value(), where, ": the size of its shape overflows");
  require(*bytes == offsets[1] - offsets[0], where, ": ", *entry.dtype, " of its shape needs ",
          *bytes, " bytes, data_offsets span ", offsets[1] - offsets[0]);
  return {*dtype, *entry.shape,
          data.subspan(static_cast<std::size_t>(offsets[0]), static_cast<std::size_t>(*bytes))};
}

/// Throws unless the tensors, in the order of their offsets, cover the data without gap or overlap.
inline void require_cover(const SafetensorsHeader& header, std::span<const std::byte> data,
                          std::string_view file) {
  struct Piece {
    const std::byte* begin;
    const std::byte* end;
    std::string_view name;
  };
  std::vector<Piece> pieces;
  for (const auto& [name, info] : header.tensors) {
    pieces.push_back({info.bytes.data(), info.bytes.data() + info.bytes.size(), name});
  }
  std::sort(pieces.begin(), pieces.end(), [](const Piece& a, const Piece& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  const std::byte* covered = data.data();
  for (const Piece& piece : pieces) {
    require(piece.begin == covered, file, ": tensor \"", piece.name, "\": its data ",
            piece.begin < covered ? "overlaps" : "leaves a hole after", " what comes before it");
    covered = piece.end;
  }
  require(covered == data.data() + data.size(), file, ": ", data.data() + data.size() - covered,
          " bytes at the end belong to no tensor");
}

}  // namespace detail

inline SafetensorsHeader parse_safetensors(std::span<const std::byte> contents,
                                           std::string_view file) {
  std::uint64_t length = 0;
  require(contents.size() >= sizeof(length), file, ": too short for a safetensors file, ",
          contents.size(), " bytes");
  std::memcpy(&length, contents.data(), sizeof(length));
  const std::span<const std::byte> rest = contents.subspan(sizeof(length));
  require(length <= detail::kMaxSafetensorsHeader && length <= rest.size(), file,
          ": the header claims ", length, " bytes, the file has ", rest.size(),
          " after the length and 100 MB are the limit");

  const auto* text = reinterpret_cast<const char*>(rest.data());
  detail::SafetensorsEvents events;
  require(length != 0 && *text == '{', file, ": the header is no JSON object");
  nlohmann::json::sax_parse(text, text + length, &events);
  require(events.problem.empty(), file, ": ", events.problem);

  const std::span<const std::byte> data = rest.subspan(static_cast<std::size_t>(length));
  SafetensorsHeader header{std::move(events.metadata), {}};
  for (const auto& [name, entry] : events.entries) {
    const std::string where = std::string(file) + ": tensor \"" + name + "\"";
    header.tensors.emplace(name, detail::checked_info(entry, data, where));
  }
  detail::require_cover(header, data, file);
  return header;
}

}  // namespace weft
