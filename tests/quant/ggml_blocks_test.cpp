#include "reference/ggml.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/ggml_blocks.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

namespace {

using namespace weft::quant;
using weft::Index;

/// A block type, how it is read by the reference, and where its 16-bit scales are.
template <class B, std::vector<double> (*Reference)(reference::Bytes), int... Halves>
struct Kind {
  using Block = B;
  static std::vector<double> values(const B& block) {
    return Reference(reinterpret_cast<reference::Bytes>(&block));
  }
  static constexpr std::array<int, sizeof...(Halves)> kHalves{Halves...};
};
using KindQ4_0 = Kind<Q4_0, reference::q4_0, 0>;
using KindQ4_1 = Kind<Q4_1, reference::q4_1, 0, 2>;
using KindQ8_0 = Kind<Q8_0, reference::q8_0, 0>;
using KindMxfp4 = Kind<Mxfp4, reference::mxfp4>;
using KindQ4_K = Kind<Q4_K, reference::q4_k, 0, 2>;
using KindTq2_0 = Kind<Tq2_0, reference::tq2_0, 64>;

/// Blocks of arbitrary bytes, but with scales that are finite.
template <class K>
std::vector<std::uint8_t> arbitrary_bytes(std::size_t blocks) {
  using B = typename K::Block;
  std::vector<std::uint8_t> bytes(blocks * sizeof(B));
  std::uint32_t state = 12345;
  for (auto& byte : bytes)
    byte = static_cast<std::uint8_t>((state = state * 1664525u + 1013904223u) >> 24);
  for (std::size_t b = 0; b < blocks; ++b) {
    for (const int at : K::kHalves) bytes[b * sizeof(B) + static_cast<std::size_t>(at) + 1] &= 0xbf;
    if constexpr (std::is_same_v<B, Mxfp4>) bytes[b * sizeof(B)] %= 253;  // 6 * 2^125 is a float
  }
  return bytes;
}

template <class B>
std::vector<float> decoded(std::span<const B> blocks) {
  std::vector<float> out(blocks.size() * static_cast<std::size_t>(B::kValues), std::nanf(""));
  decode_blocks<B>(blocks, out);
  return out;
}

template <class B>
std::vector<B> encoded(const std::vector<float>& x) {
  std::vector<B> blocks(x.size() / static_cast<std::size_t>(B::kValues));
  encode_blocks<B>(x, blocks);
  return blocks;
}

std::vector<float> numbers(Index n, double low, double high) {
  const auto x = even_values<float, 1>({n}, 3, low, high);
  return {x.data(), x.data() + n};
}

/// The largest |x - decode(encode(x))| of one block of x.
template <class B>
double error_of_block(const std::vector<float>& x) {
  const auto blocks = encoded<B>(x);
  const auto y = decoded<B>(blocks);
  double error = 0;
  for (std::size_t i = 0; i < x.size(); ++i) error = std::max(error, std::abs(double{x[i]} - y[i]));
  return error;
}

}  // namespace

TEMPLATE_TEST_CASE("ggml blocks hold the values of their bytes", "[quant]", KindQ4_0, KindQ4_1,
                   KindQ8_0, KindMxfp4, KindQ4_K, KindTq2_0) {
  using B = typename TestType::Block;
  const auto bytes = arbitrary_bytes<TestType>(50);
  const auto blocks = blocks_in<B>(bytes);
  const auto got = decoded(blocks);
  std::vector<double> expected;
  for (const B& block : blocks) {
    const auto part = TestType::values(block);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  CHECK(got.size() == expected.size());
  // Only the difference of Q4_K and the sum of Q4_1 round.
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double bound = B::kValues == 256 || sizeof(B) == 20 ? 6e-8 * std::abs(expected[i]) : 0;
    if (!(std::abs(got[i] - expected[i]) <= bound))
      FAIL(i << ": " << got[i] << ", " << expected[i]);
  }
}

TEMPLATE_TEST_CASE("what ggml blocks hold is held again", "[quant]", Q4_0, Q4_1, Q8_0, Mxfp4,
                   Tq2_0) {
  const auto once = decoded<TestType>(encoded<TestType>(numbers(1024, -2, 3)));
  CHECK(decoded<TestType>(encoded<TestType>(once)) == once);
}

TEST_CASE("ggml blocks are near their numbers", "[quant]") {
  const auto x = numbers(32, -1, 1);
  const double most = std::abs(*std::max_element(
      x.begin(), x.end(), [](float a, float b) { return std::abs(a) < std::abs(b); }));
  // Half a step, and the rounding of d, 2^-11 of it, times the largest code. At the far end of Q4_0
  // the 16th code is missing.
  CHECK(error_of_block<Q4_0>(x) <= most / 8 * (1 + 8 * 0x1p-11));
  CHECK(error_of_block<Q4_1>(x) <= 2. / 15 * (0.5 + 16 * 0x1p-11));
  CHECK(error_of_block<Q8_0>(x) <= most / 127 * (0.5 + 127 * 0x1p-11));
  CHECK(error_of_block<Mxfp4>(x) <= 2 * most / 8);
  CHECK(error_of_block<Tq2_0>(numbers(256, -1, 1)) <= 0.5 + 0x1p-11);
}

TEST_CASE("a Q4_0 block by hand", "[quant]") {
  std::vector<float> x(32, 0.f);
  x[3] = -4;  // the extreme: d = 0.5, code 0
  x[4] = 4;   // would be code 16
  x[16] = 1;  // code 10, in the high half of byte 0
  const Q4_0 block = encoded<Q4_0>(x)[0];
  CHECK(float{block.d} == 0.5f);
  CHECK(block.qs[0] == 0xa8);
  CHECK(block.qs[3] == 0x80);
  CHECK(block.qs[4] == 0x8f);
}

TEST_CASE("a TQ2_0 block by hand", "[quant]") {
  std::vector<float> x(256, 0.f);
  x[32] = 2;    // h 0, n 1, m 0: bits 2 and 3 of byte 0
  x[224] = -2;  // h 1, n 3, m 0: bits 6 and 7 of byte 32
  x[255] = 1;   // exactly half: away from zero
  const Tq2_0 block = encoded<Tq2_0>(x)[0];
  CHECK(float{block.d} == 2.f);
  CHECK(block.qs[0] == 0b01011001);
  CHECK(block.qs[32] == 0b00010101);
  CHECK(block.qs[63] == 0b10010101);
}

TEST_CASE("ties of MXFP4 go to the smaller magnitude", "[quant]") {
  std::vector<float> x(32, 0.f);
  const float ties[] = {4, 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, -0.25f, -2.5f, -0.1f};
  const int codes[] = {6, 0, 1, 2, 3, 4, 5, 0, 12, 0};
  std::copy(std::begin(ties), std::end(ties), x.begin());
  const Mxfp4 block = encoded<Mxfp4>(x)[0];
  CHECK(block.e == 127);
  for (std::size_t i = 0; i < std::size(codes); ++i) CHECK((block.qs[i] & 15) == codes[i]);
  x.assign(32, 7.9f);
  CHECK(decoded<Mxfp4>(encoded<Mxfp4>(x))[0] == 6);
}

TEMPLATE_TEST_CASE("ggml blocks of zeros and of tiny numbers", "[quant]", Q4_0, Q4_1, Q8_0, Mxfp4,
                   Tq2_0) {
  const auto n = static_cast<std::size_t>(TestType::kValues);
  std::vector<float> x(n, 0.f);
  CHECK(decoded<TestType>(encoded<TestType>(x)) == x);
  x[1] = 1e-44f;  // the inverse of any scale made from it overflows
  for (const float y : decoded<TestType>(encoded<TestType>(x))) CHECK(std::abs(y) <= 1e-38f);
}

TEST_CASE("ggml blocks refuse what they cannot hold", "[quant]") {
  std::vector<float> x(32, 1.f);
  Q4_0 block;
  const auto encode_x = [&] { encode_blocks<Q4_0>(x, std::span(&block, 1)); };
  x[7] = std::nanf("");
  CHECK(contains(message_of(encode_x), "among the numbers"));
  x[7] = 1e6f;
  CHECK(contains(message_of(encode_x), "beyond fp16"));
  x.resize(33);
  CHECK(contains(message_of(encode_x), "33 numbers in 1 blocks of 32"));
  const std::vector<std::uint8_t> bytes(36);
  CHECK(contains(message_of([&] { blocks_in<Q4_0>(std::span(bytes).first(35)); }), "35 bytes"));
  CHECK(contains(message_of([&] { blocks_in<Q4_0>(std::span(bytes).subspan(1, 18)); }), "aligned"));
}
