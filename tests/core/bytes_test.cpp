#include "support/catch.hpp"
#include <weft/core/bytes.hpp>

using namespace weft;

namespace {

constexpr Index W = kWidth<std::int32_t, DefaultArch>;

template <class B>
void check_all_bytes() {
  B bytes[256 + W], back[256 + W] = {};
  for (int i = 0; i < 256 + W; ++i) bytes[i] = static_cast<B>(i);
  for (Index i = 0; i < 256; i += W) {
    const auto v = load_bytes<DefaultArch>(bytes + i);
    for (Index l = 0; l < W; ++l) CHECK(v.get(static_cast<std::size_t>(l)) == bytes[i + l]);
    store_bytes<DefaultArch>(back + i, v);
  }
  CHECK(std::equal(bytes, bytes + 256, back));
}

}  // namespace

TEST_CASE("bytes widen with zeros or with their sign, and come back") {
  check_all_bytes<std::uint8_t>();
  check_all_bytes<std::int8_t>();
}

TEST_CASE("the lowest byte of a lane is stored, whatever is above it") {
  std::uint8_t out[W];
  store_bytes<DefaultArch>(out, Vec<std::int32_t, DefaultArch>(0x12345678));
  for (const auto byte : out) CHECK(byte == 0x78);
  store_bytes<DefaultArch>(out, Vec<std::int32_t, DefaultArch>(-2));
  for (const auto byte : out) CHECK(byte == 0xfe);
}

TEST_CASE("parts of a register of bytes leave the rest alone") {
  for (Index n = 0; n <= W; ++n) {
    std::int8_t from[W], to[W];
    for (Index i = 0; i < W; ++i) from[i] = static_cast<std::int8_t>(-i - 1), to[i] = 99;
    const auto v = load_bytes_partial<DefaultArch>(n == 0 ? nullptr : from, n);
    for (Index i = 0; i < W; ++i) CHECK(v.get(static_cast<std::size_t>(i)) == (i < n ? -i - 1 : 0));
    store_bytes_partial<DefaultArch>(n == 0 ? nullptr : to, v, n);
    for (Index i = 0; i < W; ++i) CHECK(to[i] == (i < n ? from[i] : 99));
  }
}
