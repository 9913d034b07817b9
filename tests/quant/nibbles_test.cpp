#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/quant/nibbles.hpp>

#include <array>
#include <vector>

namespace {

using namespace weft::quant;
using weft::DefaultArch;

std::vector<std::uint8_t> some_codes(std::size_t n) {
  std::vector<std::uint8_t> codes(n);
  for (std::size_t i = 0; i < n; ++i) codes[i] = static_cast<std::uint8_t>((7 * i + i / 16) % 16);
  return codes;
}

template <NibbleOrder O>
std::vector<std::int32_t> loaded(const std::vector<std::uint8_t>& bytes) {
  std::vector<std::int32_t> lanes(weft::kWidth<float>);
  load_nibbles<O>(bytes.data()).store_unaligned(lanes.data());
  return lanes;
}

}  // namespace

TEST_CASE("nibbles have their order", "[quant]") {
  const std::vector<std::uint8_t> codes{1, 2, 3};
  std::vector<std::uint8_t> bytes(2);
  pack_nibbles(codes, NibbleOrder::low_first, bytes);
  CHECK(bytes == std::vector<std::uint8_t>{0x21, 0x03});
  pack_nibbles(codes, NibbleOrder::high_first, bytes, 7);
  CHECK(bytes == std::vector<std::uint8_t>{0x12, 0x37});
}

TEST_CASE("nibbles come back", "[quant]") {
  for (const std::size_t n : {0u, 1u, 2u, 15u, 64u})
    for (const NibbleOrder order : {NibbleOrder::low_first, NibbleOrder::high_first}) {
      const auto codes = some_codes(n);
      std::vector<std::uint8_t> bytes(nibble_bytes(n)), back(n);
      pack_nibbles(codes, order, bytes);
      unpack_nibbles(bytes, order, back);
      CHECK(back == codes);
    }
}

TEST_CASE("registers of nibbles hold them in order", "[quant]") {
  const auto codes = some_codes(static_cast<std::size_t>(weft::kWidth<float>));
  const std::vector<std::int32_t> expected(codes.begin(), codes.end());
  std::vector<std::uint8_t> bytes(nibble_bytes(codes.size()));
  pack_nibbles(codes, NibbleOrder::low_first, bytes);
  CHECK(loaded<NibbleOrder::low_first>(bytes) == expected);
  pack_nibbles(codes, NibbleOrder::high_first, bytes);
  CHECK(loaded<NibbleOrder::high_first>(bytes) == expected);
}

TEST_CASE("a table of sixteen is looked up by lanes", "[quant]") {
  std::array<float, 16> values;
  for (std::size_t i = 0; i < 16; ++i) values[i] = 100.f - static_cast<float>(i * i);
  const Table16<> table(values);
  constexpr auto W = static_cast<std::size_t>(weft::kWidth<float>);
  for (std::int32_t first = 0; first < 16; ++first) {
    std::int32_t codes[W];
    float got[W];
    for (std::size_t i = 0; i < W; ++i) codes[i] = (first + 5 * static_cast<std::int32_t>(i)) % 16;
    table(weft::Vec<std::int32_t>::load_unaligned(codes)).store_unaligned(got);
    for (std::size_t i = 0; i < W; ++i) CHECK(got[i] == values[static_cast<std::size_t>(codes[i])]);
  }
}

TEST_CASE("nibbles refuse wrong sizes and large codes", "[quant]") {
  std::vector<std::uint8_t> three(3), two(2), one(1);
  const auto order = NibbleOrder::low_first;
  CHECK(contains(message_of([&] { pack_nibbles(three, order, one); }), "fill 2 bytes"));
  CHECK(contains(message_of([&] { unpack_nibbles(two, order, one); }), "there are 2"));
  three[1] = 16;
  CHECK(contains(message_of([&] { pack_nibbles(three, order, two); }), "4 bits hold 0 to 15"));
}
