#include "reference/block_formats.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/nf4.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace {

using namespace weft::quant;
using weft::Index;

std::vector<float> numbers(Index n, std::uint64_t seed) {
  const auto x = even_values<float, 1>({n}, seed, -3, 3);
  return {x.data(), x.data() + n};
}

std::vector<float> decoded(const Book16Blocks& blocks) {
  std::vector<float> out(static_cast<std::size_t>(blocks.size), std::nanf(""));
  dequantize(blocks, out);
  return out;
}

int code_at(const Book16Blocks& blocks, std::size_t i) {
  return i % 2 == 0 ? blocks.bytes[i / 2] >> 4 : blocks.bytes[i / 2] & 15;
}

std::vector<double> table_of(Book16 book) {
  if (book == Book16::nf4) return reference::nf4_table();
  std::vector<double> table;
  for (const double v : {0., 0.0625, 2., 3., 4., 6., 8., 12.})
    table.insert(table.end(), {v / 12, -v / 12});
  return table;
}

}  // namespace

TEST_CASE("4-bit blocks hold the nearest value of their table", "[quant][quant/nf4]") {
  for (const Book16 book : {Book16::nf4, Book16::fp4})
    for (const Index block : {64, 16, 7, 1}) {
      const auto x = numbers(333, 5);
      const Book16Blocks blocks = quantize_book16(x, book, block);
      const auto y = decoded(blocks);
      double worst = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const float absmax = blocks.absmax[i / static_cast<std::size_t>(block)];
        const double expected = reference::nearest_in_table(x[i], absmax, table_of(book));
        worst = std::max(worst, std::abs(y[i] - expected) / absmax);
      }
      CHECK(worst < 1.2e-7);  // the table and the product are floats
    }
}

TEST_CASE("every code of a 4-bit table comes back", "[quant]") {
  for (const Book16 book : {Book16::nf4, Book16::fp4})
    for (std::size_t code = 0; code < 16; ++code) {
      const bool minus_zero = book == Book16::fp4 && code == 8;
      CHECK(encode_book16(values_of(book)[code], book) == (minus_zero ? 0 : code));
    }
}

TEST_CASE("midpoints of 4-bit tables go to the lower code", "[quant]") {
  // 0.5 (0 + 0.0796), whose float is exact
  const float middle = kNf4Values[8] / 2;
  CHECK(encode_book16(middle, Book16::nf4) == 7);
  CHECK(encode_book16(std::nextafter(middle, 1.f), Book16::nf4) == 8);
  CHECK(encode_book16(2.5f / 12, Book16::fp4) == 6);
  CHECK(encode_book16(-kFp4Values[1] / 2, Book16::fp4) == 0);
  CHECK(encode_book16(std::nextafter(-kFp4Values[1] / 2, -1.f), Book16::fp4) == 9);
}

TEST_CASE("4-bit blocks at the edges", "[quant]") {
  const auto zeros = quantize_book16(std::vector<float>(5, -0.f), Book16::nf4, 2);
  CHECK(zeros.bytes == std::vector<std::uint8_t>{0x77, 0x77, 0x77});
  CHECK(zeros.absmax == std::vector<float>{0, 0, 0});
  CHECK(decoded(zeros) == std::vector<float>(5, 0.f));
  CHECK(quantize_book16(std::vector<float>(3), Book16::fp4).bytes == std::vector<std::uint8_t>(2));
  CHECK(quantize_book16({}, Book16::nf4).bytes.empty());

  const float tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> small{tiny, 0, -tiny};
  CHECK(decoded(quantize_book16(small, Book16::nf4)) == small);
}

TEST_CASE("4-bit blocks are scaled by their largest magnitude", "[quant]") {
  const auto x = numbers(128, 9);
  auto large = x;
  for (float& v : large) v *= 1024;
  for (const Book16 book : {Book16::nf4, Book16::fp4}) {
    const auto a = quantize_book16(x, book), b = quantize_book16(large, book);
    CHECK(a.bytes == b.bytes);
    const auto at = std::max_element(x.begin(), x.begin() + 64,
                                     [](float p, float q) { return std::abs(p) < std::abs(q); });
    CHECK(a.absmax[0] == std::abs(*at));
    CHECK(decoded(a)[static_cast<std::size_t>(at - x.begin())] == *at);
    CHECK(code_at(a, static_cast<std::size_t>(at - x.begin())) ==
          encode_book16(*at < 0 ? -1.f : 1.f, book));
  }
}

TEST_CASE("4-bit blocks refuse what they cannot hold", "[quant]") {
  std::vector<float> x(8, 1.f), room(7);
  CHECK(contains(message_of([&] { quantize_book16(x, Book16::nf4, 0); }), "blocks of 0"));
  auto blocks = quantize_book16(x, Book16::nf4, 4);
  CHECK(contains(message_of([&] { dequantize(blocks, room); }), "8 elements, room for 7"));
  blocks.absmax.pop_back();
  CHECK(contains(message_of([&] { decoded(blocks); }), "2 blocks, but 1 absmax"));
  blocks.bytes.pop_back();
  CHECK(contains(message_of([&] { decoded(blocks); }), "take 4 bytes, there are 3"));
  for (const float bad : {HUGE_VALF, std::nanf("")}) {
    x[5] = bad;
    CHECK(contains(message_of([&] { quantize_book16(x, Book16::fp4); }), "to quantize"));
  }
}
