#pragma once

#include <weft/io/atomic_file.hpp>
#include <weft/io/mapped_file.hpp>
#include <weft/io/pack.hpp>
#include <weft/io/safetensors_header.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft {

/// A safetensors file, mapped and validated as a whole when it is opened (safetensors_header.hpp
/// has the format and what is refused).
///
///   SafetensorsFile file("model.safetensors");
///   View<const float, 2> w = file.tensor<float, 2>("w");      // straight into the map, no copy
///   Tensor<float, 2> x = file.read<float, 2>("x");            // a copy, converted where needed
///
/// Views stay valid while the file object (or what it was moved to) lives. All errors are
/// weft::error and name the file and the tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path)
      : name_(path.string()), file_(path), header_(parse_safetensors(file_.bytes(), name_)) {}

  const std::string& name() const noexcept { return name_; }
  const std::map<std::string, std::string>& metadata() const noexcept { return header_.metadata; }
  bool contains(std::string_view tensor) const { return header_.tensors.contains(tensor); }

  /// All tensors, in alphabetical order.
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [tensor, info] : header_.tensors) out.push_back(tensor);
    return out;
  }

  /// Type, shape and raw bytes. Throws when there is no such tensor.
  const TensorInfo& info(std::string_view tensor) const {
    const auto at = header_.tensors.find(tensor);
    require(at != header_.tensors.end(), where(tensor), ": the file has no such tensor (it has ",
            header_.tensors.size(), ")");
    return at->second;
  }

  /// A view into the map. Throws when the stored type is not T, the rank differs, or the elements
  /// are not aligned for T (the format allows that; `read` copes).
  template <FileElement T, std::size_t Rank>
  View<const T, Rank> tensor(std::string_view tensor) const {
    const TensorInfo& found = info(tensor);
    require(found.dtype == dtype_of<T>, where(tensor), ": holds ", name_of(found.dtype), ", not ",
            name_of(dtype_of<T>), "; read() converts");
    const auto address = reinterpret_cast<std::uintptr_t>(found.bytes.data());
    require(address % alignof(T) == 0, where(tensor), ": its data is not aligned to ", alignof(T),
            " bytes; read() copies it");
    return {reinterpret_cast<const T*>(found.bytes.data()), shape_of<Rank>(found, tensor)};
  }

  /// A copy as T, converted as convert_elements says. Throws when the rank differs or a value does
  /// not fit.
  template <FileElement T, std::size_t Rank>
  Tensor<T, Rank> read(std::string_view tensor) const {
    const TensorInfo& found = info(tensor);
    Tensor<T, Rank> out(shape_of<Rank>(found, tensor));
    convert_elements<T>(found.dtype, found.bytes.data(), out.span(), where(tensor));
    return out;
  }

 private:
  std::string where(std::string_view tensor) const {
    return name_ + ": tensor \"" + std::string(tensor) + "\"";
  }

  template <std::size_t Rank>
  std::array<Index, Rank> shape_of(const TensorInfo& found, std::string_view tensor) const {
    require(found.shape.size() == Rank, where(tensor), ": has ", found.shape.size(),
            " dimensions, ", Rank, " were asked for");
    std::array<Index, Rank> shape;
    std::copy(found.shape.begin(), found.shape.end(), shape.begin());
    return shape;
  }

  std::string name_;
  MappedFile file_;
  SafetensorsHeader header_;
};

/// Collects tensors and writes them as one safetensors file.
///
///   SafetensorsWriter writer;
///   writer.add("w", w);                       // any view or tensor; elements are copied now
///   writer.metadata("format", "pt");
///   writer.save("model.safetensors");         // appears whole or not at all
///
/// The data starts at a multiple of 8 bytes and tensors are laid out from wide to narrow element
/// types, so every element is aligned.
class SafetensorsWriter {
 public:
  /// Throws when the name is taken or is the reserved "__metadata__".
  template <class X>
  void add(const std::string& name, const X& elements) {
    const auto view = view_of(elements);
    using T = typename decltype(view)::value_type;
    static_assert(FileElement<T>, "files hold bool, integers, fp16, bf16, float and double");
    require(name != "__metadata__", "a tensor cannot be called __metadata__");
    const auto [at, fresh] = items_.try_emplace(name);
    require(fresh, "two tensors are called \"", name, "\"");
    at->second = {dtype_of<T>, {view.shape().begin(), view.shape().end()}, {}};
    detail::append_packed(view, at->second.bytes);
  }

  void metadata(const std::string& key, const std::string& value) { metadata_[key] = value; }

  /// Throws when the file cannot be written, or a name or metadata entry is not UTF-8.
  void save(const std::filesystem::path& path) const {
    std::vector<const Items::value_type*> order;
    for (const auto& item : items_) order.push_back(&item);
    std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
      return size_of(a->second.dtype) > size_of(b->second.dtype);
    });
    const std::string head = header_text(order, path);
    const auto length = static_cast<std::uint64_t>(head.size());
    AtomicFile file(path);
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(std::as_bytes(std::span(head)));
    for (const auto* item : order) file.write(item->second.bytes);
    file.commit();
  }

 private:
  struct Item {
    Dtype dtype;
    std::vector<Index> shape;
    std::vector<std::byte> bytes;
  };
  using Items = std::map<std::string, Item>;

  std::string header_text(const std::vector<const Items::value_type*>& order,
                          const std::filesystem::path& path) const {
    nlohmann::json header = nlohmann::json::object();
    if (!metadata_.empty()) header["__metadata__"] = metadata_;
    std::size_t begin = 0;
    for (const auto* entry : order) {
      const auto& [name, item] = *entry;
      const std::size_t end = begin + item.bytes.size();
      header[name] = {
          {"dtype", name_of(item.dtype)}, {"shape", item.shape}, {"data_offsets", {begin, end}}};
      begin = end;
    }
    // Invalid UTF-8 is dropped here, and then the text does not read back as what was meant.
    std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
    require(nlohmann::json::parse(text, nullptr, false) == header, path.string(),
            ": a tensor name or metadata entry is not UTF-8");
    text.append((8 - text.size() % 8) % 8, ' ');
    return text;
  }

  std::map<std::string, std::string> metadata_;
  Items items_;
};

}  // namespace weft
