#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/quant/float_codes.hpp>

#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace {

using namespace weft::quant;

bool same_bits(float a, float b) {
  return std::isnan(a) ? std::isnan(b)
                       : std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

/// Floats of all exponents and signs, and around every value and midpoint of a format.
std::vector<float> many_floats(const FloatFormat& f) {
  std::vector<float> out;
  for (std::uint32_t i = 0; i < (1u << 16); ++i)
    out.push_back(std::bit_cast<float>(i * 2654435761u));
  for (std::uint32_t code = 0; code < f.max_code(); ++code) {
    const float here = f.decode(code), middle = (here + f.decode(code + 1)) / 2;
    for (const float x : {here, middle, std::nextafter(middle, 0.f), std::nextafter(middle, 1e9f)})
      out.insert(out.end(), {x, -x});
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  out.insert(out.end(), {HUGE_VALF, -HUGE_VALF, nan, -nan, 1e-40f, 464.f, 61440.f, 0.f, -0.f});
  return out;
}

template <FloatFormat F, Overflow O>
int wrong_codes() {
  const std::vector<float> x = many_floats(F);
  std::vector<std::uint8_t> codes(x.size());
  encode_codes<F, weft::DefaultArch, O>(x, codes);
  int wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) wrong += codes[i] != F.encode(x[i], O);
  return wrong;
}

template <FloatFormat F>
void check_format() {
  std::vector<std::uint8_t> codes(std::size_t{1} << F.bits());
  std::iota(codes.begin(), codes.end(), std::uint8_t{0});
  std::vector<float> values(codes.size());
  decode_codes<F>(codes, values);
  int wrong = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) wrong += !same_bits(values[i], F.decode(codes[i]));
  CHECK(wrong == 0);
  CHECK(wrong_codes<F, Overflow::saturate>() == 0);
  CHECK(wrong_codes<F, Overflow::special>() == 0);
}

}  // namespace

TEST_CASE("many codes of small floats are those of one at a time", "[quant][quant/fp8]") {
  check_format<kE4M3>();
  check_format<kE5M2>();
  check_format<kE3M2>();
  check_format<kE2M3>();
  check_format<kE2M1>();
}

TEMPLATE_TEST_CASE_SIG("rows of codes of any length touch nothing else", "[quant]", ((bool E5), E5),
                       true, false) {
  constexpr FloatFormat f = E5 ? kE5M2 : kE4M3;
  for (std::size_t n = 0; n <= 37; ++n) {
    std::vector<std::uint8_t> from(n);
    std::iota(from.begin(), from.end(), std::uint8_t{0x29});
    std::vector<float> values(n + 1, 13.5f);
    decode_codes<f>(from, std::span(values).first(n));
    std::vector<std::uint8_t> codes(n + 1, 77);
    encode_codes<f>(std::span<const float>(values).first(n), std::span(codes).first(n));
    CHECK(values[n] == 13.5f);
    CHECK(codes[n] == 77);
    CHECK(std::equal(from.begin(), from.end(), codes.begin()));
  }
}

TEST_CASE("rows of codes ask for equal sizes", "[quant]") {
  std::vector<std::uint8_t> codes(3);
  std::vector<float> numbers(4);
  CHECK(contains(message_of([&] { decode_codes<kE4M3>(codes, numbers); }), "3 codes to decode"));
  CHECK(contains(message_of([&] { encode_codes<kE4M3>(numbers, codes); }), "room for 3"));
}
