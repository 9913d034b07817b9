#include "archive.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace compress_model {

namespace {

constexpr const char* kFormat = "weft-compressed";
constexpr const char* kChecksum = "checksum";

/// FNV-1a.
std::uint64_t hash_of(std::span<const std::byte> bytes,
                      std::uint64_t hash = 0xcbf29ce484222325u) noexcept {
  for (const std::byte b : bytes)
    hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3u;
  return hash;
}

std::uint64_t hash_of(const std::string& text) noexcept {
  return hash_of(std::as_bytes(std::span(text)));
}

/// Of the names and hashes of everything in a file.
std::string checksum_of(const std::map<std::string, std::uint64_t>& sums) {
  std::uint64_t hash = hash_of(std::string());
  for (const auto& [name, sum] : sums) {
    hash = hash_of(std::as_bytes(std::span(name)), hash);
    hash = hash_of(std::as_bytes(std::span(&sum, 1)), hash);
  }
  return std::to_string(hash);
}

std::string metadata_key(const std::string& key) { return "metadata " + key; }

/// Two codes to a byte.
Tensor<std::uint8_t, 2> pack(const Tensor<std::uint8_t, 2>& codes) {
  Tensor<std::uint8_t, 2> out({codes.extent(0), weft::ceil_div(codes.extent(1), 2)});
  for (Index r = 0; r < codes.extent(0); ++r)
    for (Index c = 0; c < codes.extent(1); ++c)
      out(r, c / 2) = static_cast<std::uint8_t>(out(r, c / 2) | codes(r, c) << (c % 2 * 4));
  return out;
}

Tensor<weft::fp16, 2> halves(const Tensor<float, 2>& x) {
  Tensor<weft::fp16, 2> out(x.shape());
  std::transform(x.span().begin(), x.span().end(), out.data(),
                 [](float v) { return weft::fp16(v); });
  return out;
}

}  // namespace

ArchiveWriter::ArchiveWriter(const std::string& model, const Method& method) {
  metadata("format", kFormat);
  metadata("model", model);
  metadata("method", std::string(method.name));
  metadata("group", std::to_string(method.group));
}

void ArchiveWriter::metadata(const std::string& key, const std::string& value) {
  writer_.metadata(key, value);
  sums_[metadata_key(key)] = hash_of(value);
}

void ArchiveWriter::note(const std::string& name, std::span<const std::byte> bytes) {
  sums_[name] = hash_of(bytes);
}

void ArchiveWriter::add(const std::string& name, const CompressedLinear& layer) {
  if (layer.method.format == Format::four_bit) {
    add(name + ".codes", pack(layer.codes).view());
    add(name + ".scale", halves(layer.scale).view());
    if (layer.offset.size() != 0) add(name + ".offset", halves(layer.offset).view());
  } else if (layer.method.format == Format::float8) {
    add(name + ".codes", layer.codes.view());
    add(name + ".scale", layer.scale.view());
  } else {
    Tensor<std::int8_t, 2> codes(layer.codes.shape());
    std::transform(layer.codes.span().begin(), layer.codes.span().end(), codes.data(),
                   [](std::uint8_t code) { return static_cast<std::int8_t>(code); });
    add(name + ".codes", codes.view());
    add(name + ".scale", layer.scale.view());
  }
  if (layer.bias.size() != 0) add(name + ".bias", layer.bias.view());
}

void ArchiveWriter::save(const std::filesystem::path& path) {
  writer_.metadata(kChecksum, checksum_of(sums_));
  writer_.save(path);
}

Archive::Archive(const std::filesystem::path& path) : file_(path) {
  weft::require(metadata("format") == kFormat, file_.name(), ": format is ", metadata("format"),
                ", wanted ", kFormat);
  std::map<std::string, std::uint64_t> sums;
  for (const auto& [key, value] : file_.metadata())
    if (key != kChecksum) sums[metadata_key(key)] = hash_of(value);
  for (const std::string& name : file_.names()) sums[name] = hash_of(file_.info(name).bytes);
  weft::require(metadata(kChecksum) == checksum_of(sums), file_.name(),
                ": the checksum does not fit the contents; the file is damaged");
  method_ = method_called(metadata("method"));
  method_.group = size("group");
}

const std::string& Archive::metadata(const std::string& key) const {
  const auto at = file_.metadata().find(key);
  weft::require(at != file_.metadata().end(), file_.name(), ": no metadata entry \"", key,
                "\"; did compress_model write this file?");
  return at->second;
}

Index Archive::size(const std::string& key) const {
  const std::string& text = metadata(key);
  Index value = 0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), value);
  weft::require(
      trouble == std::errc() && end == text.data() + text.size() && value >= 1 && value <= 1000000,
      file_.name(), ": metadata entry \"", key, "\" is ", text,
      ", wanted a number from 1 to 1000000");
  return value;
}

void Archive::check_finite(const std::string& name, std::span<const float> values) const {
  for (const float v : values)
    weft::require(std::isfinite(v), file_.name(), ": tensor \"", name, "\" has a ", v, " in it");
}

void Archive::read_codes(const std::string& name, CompressedLinear& layer) const {
  const bool packed = method_.format == Format::four_bit;
  const std::array shape{layer.rows, packed ? weft::ceil_div(layer.cols, 2) : layer.cols};
  const auto require_shape = [&](const auto& codes) {
    weft::require(codes.shape() == shape, file_.name(), ": tensor \"", name, "\" is ", codes,
                  ", wanted ", weft::shape_text(View<float, 2>(nullptr, shape)));
  };
  layer.codes = Tensor<std::uint8_t, 2>({layer.rows, layer.cols});
  if (packed) {
    const auto bytes = file_.tensor<std::uint8_t, 2>(name);
    require_shape(bytes);
    for (Index r = 0; r < layer.rows; ++r)
      for (Index c = 0; c < layer.cols; ++c)
        layer.codes(r, c) = static_cast<std::uint8_t>(bytes(r, c / 2) >> (c % 2 * 4) & 15);
  } else if (method_.format == Format::float8) {
    layer.codes = file_.read<std::uint8_t, 2>(name);
    require_shape(layer.codes.view());
  } else {
    const auto bytes = file_.tensor<std::int8_t, 2>(name);
    require_shape(bytes);
    for (Index i = 0; i < bytes.size(); ++i)
      layer.codes.data()[i] = static_cast<std::uint8_t>(bytes.data()[i]);
  }
}

CompressedLinear Archive::linear(const std::string& name, Index rows, Index cols) const {
  CompressedLinear layer;
  layer.method = method_;
  layer.rows = rows;
  layer.cols = cols;
  read_codes(name + ".codes", layer);
  const Index groups =
      method_.format == Format::four_bit ? weft::ceil_div(cols, method_.group) : Index{1};
  layer.scale = read(name + ".scale", std::array{rows, groups});
  if (file_.contains(name + ".offset"))
    layer.offset = read(name + ".offset", std::array{rows, groups});
  if (file_.contains(name + ".bias")) layer.bias = read(name + ".bias", std::array{rows});
  return layer;
}

}  // namespace compress_model
