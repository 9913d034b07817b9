#pragma once

#include <weft/io/atomic_file.hpp>
#include <weft/io/element_type.hpp>
#include <weft/io/mapped_file.hpp>
#include <weft/io/pack.hpp>
#include <weft/io/python_literal.hpp>

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft {

/// NumPy .npy files, format versions 1 and 2: little-endian, C order, element types b1 u1 i4 i8 f2
/// f4 f8. Fortran order, big endian, pickled objects and the rest are refused with a sentence.

/// What stands in a .npy file.
struct NpyArray {
  Dtype dtype{};
  std::vector<Index> shape;
  std::span<const std::byte> bytes;  ///< packed row-major elements
};

/// Parses the contents of a file. Throws weft::error that names `file`.
NpyArray parse_npy(std::span<const std::byte> contents, std::string_view file);

/// Reads an array, converted to T as convert_elements says. Throws weft::error naming the file when
/// the rank differs or a value does not fit.
template <FileElement T, std::size_t Rank>
Tensor<T, Rank> read_npy(const std::filesystem::path& path);

/// Writes a view or tensor as version 1; the file appears whole or not at all.
template <class X>
void write_npy(const std::filesystem::path& path, const X& elements);

namespace detail {

struct NpyType {
  std::string_view descr;
  Dtype dtype;
};

inline constexpr std::array<NpyType, 7> kNpyTypes{{{"|b1", Dtype::BOOL},
                                                   {"|u1", Dtype::U8},
                                                   {"<i4", Dtype::I32},
                                                   {"<i8", Dtype::I64},
                                                   {"<f2", Dtype::F16},
                                                   {"<f4", Dtype::F32},
                                                   {"<f8", Dtype::F64}}};

inline constexpr std::string_view kNpyMagic{"\x93NUMPY", 6};

inline Dtype npy_dtype(const nlohmann::json& descr, std::string_view file) {
  require(descr.is_string(), file, ": structured arrays are not supported");
  const std::string text = descr;
  for (const NpyType& type : kNpyTypes) {
    if (type.descr == text) return type.dtype;
  }
  require(text.empty() || text[0] != '>', file, ": big-endian elements (", text,
          "); save the array in little-endian order");
  require(text.find('O') == std::string::npos, file,
          ": holds pickled Python objects, which are not read");
  fail(std::string(file) + ": unsupported element type " + text +
       "; b1 u1 i4 i8 f2 f4 f8 are read");
}

inline std::vector<Index> npy_shape(const nlohmann::json& tuple, std::string_view file) {
  require(tuple.is_array(), file, ": the shape is no tuple");
  std::vector<Index> shape;
  for (const nlohmann::json& extent : tuple) {
    require(extent.is_number_unsigned() && std::in_range<Index>(extent.get<std::uint64_t>()), file,
            ": the shape holds something else than a size");
    shape.push_back(extent);
  }
  return shape;
}

/// The Python dictionary in front of the data, and the data.
inline std::pair<std::string_view, std::span<const std::byte>> split_npy(
    std::span<const std::byte> contents, std::string_view file) {
  const std::string_view text(reinterpret_cast<const char*>(contents.data()), contents.size());
  require(text.size() >= 10 && text.starts_with(kNpyMagic), file, ": not an .npy file");
  const int version = text[6];
  require(version == 1 || version == 2, file, ": .npy version ", version, "; 1 and 2 are read");
  const std::size_t width = version == 1 ? 2 : 4;  // bytes of the header's length
  const std::size_t start = 8 + width;
  std::uint32_t length = 0;
  require(text.size() >= start, file, ": ends inside the header");
  std::memcpy(&length, contents.data() + 8, width);
  require(length <= text.size() - start, file, ": ends inside the header");
  return {text.substr(start, length), contents.subspan(start + length)};
}

inline std::string npy_header(Dtype dtype, std::span<const Index> shape) {
  std::string_view descr;
  for (const NpyType& type : kNpyTypes) {
    if (type.dtype == dtype) descr = type.descr;
  }
  std::string text = "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': (";
  for (const Index extent : shape) text += std::to_string(extent) + ",";
  text += ")}";
  text.append(63 - (text.size() + 10) % 64, ' ');  // the data starts at a multiple of 64 bytes
  return text + "\n";
}

template <class T>
constexpr bool is_npy_element() noexcept {
  for (const NpyType& type : kNpyTypes) {
    if (type.dtype == dtype_of<T>) return true;
  }
  return false;
}

}  // namespace detail

inline NpyArray parse_npy(std::span<const std::byte> contents, std::string_view file) {
  const auto [text, data] = detail::split_npy(contents, file);
  const nlohmann::json header = python_literal(text, file);
  require(header.is_object() && header.contains("descr") && header.contains("fortran_order") &&
              header.contains("shape"),
          file, ": the header lacks descr, fortran_order or shape");
  NpyArray array{detail::npy_dtype(header["descr"], file), detail::npy_shape(header["shape"], file),
                 data};
  require(header["fortran_order"] == false || array.shape.size() < 2, file,
          ": Fortran order; save it with numpy.ascontiguousarray");
  const std::optional<Index> bytes = detail::packed_bytes(array.dtype, array.shape);
  require(bytes && std::cmp_equal(*bytes, data.size()), file, ": holds ", data.size(),
          " bytes of data, which is not what its shape needs");
  return array;
}

template <FileElement T, std::size_t Rank>
Tensor<T, Rank> read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  const NpyArray array = parse_npy(file.bytes(), path.string());
  require(array.shape.size() == Rank, path.string(), ": has ", array.shape.size(), " dimensions, ",
          Rank, " were asked for");
  std::array<Index, Rank> shape;
  std::copy(array.shape.begin(), array.shape.end(), shape.begin());
  Tensor<T, Rank> out(shape);
  convert_elements<T>(array.dtype, array.bytes.data(), out.span(), path.string());
  return out;
}

template <class X>
void write_npy(const std::filesystem::path& path, const X& elements) {
  const auto view = view_of(elements);
  using T = typename decltype(view)::value_type;
  static_assert(detail::is_npy_element<T>(), "npy files are written as b1 u1 i4 i8 f2 f4 f8");
  const std::string text = detail::npy_header(dtype_of<T>, view.shape());
  const auto length = static_cast<std::uint16_t>(text.size());
  std::string head = std::string(detail::kNpyMagic) + std::string("\x01\x00", 2);
  head.append(reinterpret_cast<const char*>(&length), sizeof(length)).append(text);
  std::vector<std::byte> bytes;
  detail::append_packed(view, bytes);
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(head)));
  file.write(bytes);
  file.commit();
}

}  // namespace weft
