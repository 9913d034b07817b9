#include <weft/io/safetensors.hpp>

#include <cstdint>

/// Any bytes either parse or throw weft::error; what parses describes memory inside the input.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span contents(reinterpret_cast<const std::byte*>(data), size);
  try {
    const weft::SafetensorsHeader header = weft::parse_safetensors(contents, "fuzz");
    for (const auto& [name, info] : header.tensors) {
      std::vector<double> out(info.bytes.size() / static_cast<std::size_t>(size_of(info.dtype)));
      weft::convert_elements<double>(info.dtype, info.bytes.data(), out, name);
    }
  } catch (const weft::error&) {
  }
  return 0;
}
