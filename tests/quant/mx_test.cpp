#include "reference/block_formats.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/mx.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace {

using namespace weft::quant;
using reference::TopCodes;
using weft::Index;
using weft::Tensor;

struct Element {
  FloatFormat format;
  reference::SmallFloat definition;
  int exponent;  // of the largest number
};
const Element kElements[] = {
    {kE2M1, {2, 1, 1, TopCodes::numbers}, 2}, {kE2M3, {2, 3, 1, TopCodes::numbers}, 2},
    {kE3M2, {3, 2, 3, TopCodes::numbers}, 4}, {kE4M3, {4, 3, 7, TopCodes::one_nan}, 8},
    {kE5M2, {5, 2, 15, TopCodes::ieee}, 15},
};

/// Rows of very different magnitudes.
Tensor<float, 2> rows_of_many_sizes(Index rows, Index cols) {
  auto x = even_values<float, 2>({rows, cols}, 11);
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < cols; ++c)
      x(r, c) = std::ldexp(x(r, c), static_cast<int>(37 * r % 50 - 25 - c / 5));
  return x;
}

Tensor<float, 2> decoded(const MxMatrix& q) {
  Tensor<float, 2> out(q.codes.shape());
  dequantize(q, out);
  return out;
}

/// Elements of x [R, C] whose code or value is not that of the reference.
int wrong_elements(const Tensor<float, 2>& x, const Element& element, Index block) {
  const MxMatrix q = quantize_mx(x, element.format, block);
  const auto y = decoded(q);
  int wrong = 0;
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index first = 0; first < x.extent(1); first += block) {
      const Index end = std::min(first + block, x.extent(1));
      const auto expected =
          reference::mx_block({&x(r, first), &x(r, 0) + end}, element.definition, element.exponent);
      wrong += q.scales(r, first / block) != expected.exponent + 127;
      for (Index c = first; c < end; ++c) {
        const auto i = static_cast<std::size_t>(c - first);
        wrong += q.codes(r, c) != expected.codes[i] || double{y(r, c)} != expected.values[i];
      }
    }
  return wrong;
}

}  // namespace

TEST_CASE("MX blocks agree with their definition", "[quant][quant/mx]") {
  for (const Element& element : kElements) {
    CHECK(wrong_elements(rows_of_many_sizes(5, 96), element, 32) == 0);
    CHECK(wrong_elements(rows_of_many_sizes(4, 75), element, 32) == 0);
    CHECK(wrong_elements(rows_of_many_sizes(2, 9), element, 4) == 0);
  }
}

TEST_CASE("a power of two moves the byte of an MX block only", "[quant]") {
  const auto x = rows_of_many_sizes(6, 64);
  auto large = x.clone();
  for (float& v : large.span()) v *= 8;
  for (const Element& element : kElements) {
    const MxMatrix a = quantize_mx(x, element.format), b = quantize_mx(large, element.format);
    CHECK(std::ranges::equal(a.codes.span(), b.codes.span()));
    for (Index i = 0; i < a.scales.size(); ++i) CHECK(b.scales.data()[i] == a.scales.data()[i] + 3);
  }
}

TEST_CASE("what an MX block holds is held again", "[quant]") {
  for (const Element& element : kElements) {
    const auto y = decoded(quantize_mx(rows_of_many_sizes(6, 64), element.format));
    CHECK(std::ranges::equal(decoded(quantize_mx(y, element.format)).span(), y.span()));
  }
}

TEST_CASE("MX blocks at the ends of the exponents", "[quant]") {
  const float most = std::numeric_limits<float>::max();
  const float least = std::numeric_limits<float>::denorm_min();
  for (const Element& element : kElements) {
    Tensor<float, 2> x({2, 4});
    x(0, 0) = most;
    x(0, 1) = -most;
    x(1, 2) = least;
    const MxMatrix q = quantize_mx(x, element.format);
    CHECK(q.scales(0, 0) == 254 - element.exponent);
    CHECK(q.codes(0, 0) == element.format.max_code());
    CHECK(q.scales(1, 0) == 0);
    const auto y = decoded(q);
    CHECK(y(0, 1) == -std::ldexp(element.format.max(), 127 - element.exponent));
    CHECK(y(1, 2) == 0);
  }
}

TEST_CASE("MX blocks of zeros and of NaN", "[quant]") {
  Tensor<float, 2> x({1, 96});
  for (Index c = 0; c < 96; ++c) x(0, c) = c < 32 ? -0.f : 1.f;
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    x(0, 40) = bad;
    const MxMatrix q = quantize_mx(x, kE2M1);
    CHECK(q.scales(0, 0) == 0);
    CHECK(q.scales(0, 1) == 0xff);
    CHECK(q.scales(0, 2) == 125);
    const auto y = decoded(q);
    for (Index c = 0; c < 32; ++c) {
      CHECK(q.codes(0, c) == 0);
      CHECK(y(0, c) == 0);
      CHECK(std::isnan(y(0, 32 + c)));
      CHECK(y(0, 64 + c) == 1);
    }
  }
}

TEST_CASE("MX takes strided rows and empty ones", "[quant]") {
  const auto x = rows_of_many_sizes(4, 70);
  const auto part = x.view().slice(1, 3, 40);
  Tensor<float, 2> packed({4, 40});
  for (Index r = 0; r < 4; ++r)
    for (Index c = 0; c < 40; ++c) packed(r, c) = part(r, c);
  const MxMatrix a = quantize_mx(part, kE4M3), b = quantize_mx(packed, kE4M3);
  CHECK(std::ranges::equal(a.codes.span(), b.codes.span()));
  CHECK(quantize_mx(Tensor<float, 2>({3, 0}), kE4M3).scales.extent(1) == 0);
}

TEST_CASE("MX refuses what it is not made for", "[quant]") {
  const Tensor<float, 2> x({3, 8});
  Tensor<float, 2> small({3, 7});
  CHECK(contains(message_of([&] { quantize_mx(x, kE4M3, 0); }), "blocks of 0"));
  CHECK(contains(message_of([&] { quantize_mx(x.view().transpose(0, 1), kE4M3); }), "stride 8"));
  CHECK(contains(message_of([&] {
                   quantize_mx(x, {5, 10, 15, Specials::ieee});
                 }),
                 "5 exponent and 10 mantissa bits is none of MX"));
  Tensor<float, 2> turned({8, 3});
  CHECK(contains(
      message_of([&] { dequantize(quantize_mx(x, kE4M3), turned.view().transpose(0, 1)); }),
      "stride 3"));
  CHECK(contains(message_of([&] { dequantize(quantize_mx(x, kE4M3), small); }), "[3, 7]"));
  std::vector<std::uint8_t> codes(2);
  CHECK(contains(message_of([&] { encode_mx_block({x.data(), 3}, kE2M1, codes); }), "room for 2"));
}
