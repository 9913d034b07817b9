#include <weft/io/safetensors.hpp>

#include <cstdint>

/// Any bytes either parse or throw weft::error; what parses describes memory inside the input.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span contents(reinterpret_cast<const std::byte*>(data), size);
  try {
    const weft::SafetensorsHeader header = weft::parse_safetensors(contents, "fuzz");
    unsigned sum = 0;
    for (const auto& [name, info] : header.tensors) {
      for (const std::byte byte : info.bytes) sum += std::to_integer<unsigned>(byte);
    }
    static volatile unsigned sink;
    sink = sum;
  } catch (const weft::error&) {
  }
  return 0;
}
