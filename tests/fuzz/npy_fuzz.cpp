#include <weft/io/npy.hpp>

#include <cstdint>

/// Any bytes either parse or throw weft::error; what parses converts.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span contents(reinterpret_cast<const std::byte*>(data), size);
  try {
    const weft::NpyArray array = weft::parse_npy(contents, "fuzz");
    std::vector<double> out(array.bytes.size() / static_cast<std::size_t>(size_of(array.dtype)));
    weft::convert_elements<double>(array.dtype, array.bytes.data(), out, "fuzz");
  } catch (const weft::error&) {
  }
  return 0;
}
