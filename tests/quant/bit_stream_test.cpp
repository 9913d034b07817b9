#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/core/tensor.hpp>
#include <weft/quant/bit_stream.hpp>

#include <algorithm>
#include <cstdint>

namespace {

using namespace weft::quant;
using weft::Index;
using weft::Tensor;

template <class Code>
Tensor<Code, 2> some_codes(Index count, Index streams, int bits) {
  Tensor<Code, 2> codes({count, streams});
  std::uint32_t state = 7;
  for (Code& code : codes.span())
    code = static_cast<Code>((state = state * 1664525u + 1013904223u) >> (32 - bits));
  return codes;
}

/// Bit t of a stream.
int bit(const Tensor<std::int32_t, 2>& words, Index t, Index stream) {
  return (static_cast<std::uint32_t>(words(t / 32, stream)) >> (t % 32)) & 1;
}

}  // namespace

TEST_CASE("streams have their bits in order", "[quant]") {
  for (int bits = 1; bits <= 8; ++bits) {
    const auto codes = some_codes<std::uint8_t>(37, 3, bits);
    Tensor<std::int32_t, 2> words({stream_words(37, bits), 3});
    for (auto& word : words.span()) word = -1;
    pack_bits<std::uint8_t>(codes, bits, words);
    int wrong = 0;
    for (Index n = 0; n < 3; ++n)
      for (Index t = 0; t < 32 * words.extent(0); ++t) {
        const int expected = t < 37 * bits ? (codes(t / bits, n) >> (t % bits)) & 1 : 0;
        wrong += bit(words, t, n) != expected;
      }
    CHECK(wrong == 0);
  }
}

TEMPLATE_TEST_CASE("streams come back", "[quant]", std::uint8_t, std::int32_t) {
  for (const Index count : {0, 1, 10, 32, 64, 101})
    for (int bits = 1; bits <= 8; ++bits) {
      const auto codes = some_codes<TestType>(count, 5, bits);
      Tensor<std::int32_t, 2> words({stream_words(count, bits), 5});
      Tensor<TestType, 2> back({count, 5});
      pack_bits<TestType>(codes, bits, words);
      unpack_bits<TestType>(words, bits, back);
      CHECK(std::ranges::equal(back.span(), codes.span()));
    }
}

TEST_CASE("streams along the second axis are transposed views", "[quant]") {
  const auto codes = some_codes<std::int32_t>(4, 64, 3);
  Tensor<std::int32_t, 2> words({4, 6}), down({6, 4}), turned({64, 4});
  for (Index i = 0; i < 4; ++i)
    for (Index k = 0; k < 64; ++k) turned(k, i) = codes(i, k);
  pack_bits<std::int32_t>(codes.view().transpose(0, 1), 3, words.view().transpose(0, 1));
  pack_bits<std::int32_t>(turned, 3, down);
  for (Index i = 0; i < 4; ++i)
    for (Index w = 0; w < 6; ++w) CHECK(words(i, w) == down(w, i));
}

TEST_CASE("streams refuse what does not fit", "[quant]") {
  Tensor<std::uint8_t, 2> codes({32, 2});
  Tensor<std::int32_t, 2> words({3, 2}), narrow({3, 1});
  const auto pack = [&](int bits, auto& to) {
    return message_of([&, bits] { pack_bits<std::uint8_t>(codes, bits, to); });
  };
  CHECK(contains(pack(4, words), "fill 4 words, there are 3"));
  CHECK(contains(pack(3, narrow), "2 streams of codes, but 1"));
  CHECK(contains(pack(9, words), "9 bits; wanted 1 to 8"));
  codes(31, 1) = 8;
  CHECK(contains(pack(3, words), "code 8 at [31, 1]"));
  CHECK(contains(message_of([&] { unpack_bits<std::uint8_t>(words, 4, codes); }), "fill 4 words"));
}
