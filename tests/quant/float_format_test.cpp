#include "reference/float_format.hpp"

#include "support/catch.hpp"
#include <weft/core/dtype.hpp>
#include <weft/quant/float_format.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace {

using namespace weft::quant;
using reference::SmallFloat;
using reference::TopCodes;

struct Pair {
  FloatFormat format;
  SmallFloat definition;
};
const Pair kFormats[] = {
    {kE4M3, {4, 3, 7, TopCodes::one_nan}},
    {kE5M2, {5, 2, 15, TopCodes::ieee}},
    {kE3M2, {3, 2, 3, TopCodes::numbers}},
    {kE2M3, {2, 3, 1, TopCodes::numbers}},
    {kE2M1, {2, 1, 1, TopCodes::numbers}},
    {{3, 0, 3, Specials::none}, {3, 0, 3, TopCodes::numbers}},
    {{1, 2, 0, Specials::none}, {1, 2, 0, TopCodes::numbers}},
    {{5, 10, 15, Specials::ieee}, {5, 10, 15, TopCodes::ieee}},
};

bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

/// Every value, the midpoints between neighbours and beyond the last, and the floats around both.
std::vector<float> rounding_cases(const SmallFloat& f) {
  std::vector<float> cases{0.f, 1e-40f, 1e30f, HUGE_VALF};
  const double last = value_of(largest_code(f), f), before = value_of(largest_code(f) - 1, f);
  for (int code = 0; code <= largest_code(f); ++code) {
    const double here = value_of(code, f);
    const double next = code == largest_code(f) ? last + (last - before) : value_of(code + 1, f);
    for (const double x : {here, (here + next) / 2}) {
      const auto y = static_cast<float>(x);
      cases.insert(cases.end(), {y, std::nextafter(y, -HUGE_VALF), std::nextafter(y, HUGE_VALF)});
    }
  }
  return cases;
}

int saturated(float x, const SmallFloat& f) {
  const int size = std::min(reference::nearest_code(std::abs(x), f), largest_code(f));
  return std::signbit(x) ? size + f.sign() : size;
}

int not_saturated(float x, const Pair& p) {
  const SmallFloat& f = p.definition;
  const int size = reference::nearest_code(std::abs(x), f);
  if (size <= largest_code(f) || f.top == TopCodes::numbers) return saturated(x, f);
  return largest_code(f) + 1 + (std::signbit(x) ? f.sign() : 0);
}

}  // namespace

TEST_CASE("every code of a small float is the value of its definition", "[quant]") {
  int wrong = 0;
  for (const auto& [format, definition] : kFormats)
    for (int code = 0; code < 1 << format.bits(); ++code) {
      const double expected = value_of(code, definition);
      const float value = format.decode(static_cast<std::uint32_t>(code));
      wrong += !same(value, expected);
      if (!std::isnan(expected))
        wrong += format.encode(value, Overflow::special) != static_cast<std::uint32_t>(code);
    }
  CHECK(wrong == 0);
}

TEST_CASE("small floats round to nearest even", "[quant]") {
  int wrong = 0;
  for (const Pair& p : kFormats) {
    if (p.format.bits() > 8) continue;  // the definition tries all codes; core's half is next
    for (const float x : rounding_cases(p.definition))
      for (const float y : {x, -x}) {
        wrong += p.format.encode(y) != static_cast<std::uint32_t>(saturated(y, p.definition));
        wrong += p.format.encode(y, Overflow::special) !=
                 static_cast<std::uint32_t>(not_saturated(y, p));
      }
  }
  CHECK(wrong == 0);
}

TEST_CASE("the 16-bit formats of core are small floats too", "[quant]") {
  constexpr FloatFormat half{5, 10, 15, Specials::ieee}, brain{8, 7, 127, Specials::ieee};
  int wrong = 0;
  for (std::uint32_t i = 0; i < (1u << 18); ++i) {
    const auto x = std::bit_cast<float>(i * 2654435761u);
    if (std::isnan(x)) continue;
    wrong += half.encode(x, Overflow::special) != weft::fp16(x).bits;
    wrong += brain.encode(x, Overflow::special) != weft::bf16(x).bits;
    wrong += !same(brain.decode(i & 0xffff), weft::bf16::from_bits(i & 0xffff));
  }
  CHECK(wrong == 0);
}

TEST_CASE("limits of the small floats", "[quant]") {
  const auto check = [](FloatFormat f, float max, int max_exponent, std::uint32_t max_code) {
    CHECK(f.max() == max);
    CHECK(f.max_exponent() == max_exponent);
    CHECK(f.max_code() == max_code);
    CHECK(std::ilogb(f.max()) == max_exponent);
  };
  check(kE4M3, 448, 8, 0x7e);
  check(kE5M2, 57344, 15, 0x7b);
  check(kE3M2, 28, 4, 0x1f);
  check(kE2M3, 7.5, 2, 0x1f);
  check(kE2M1, 6, 2, 0x7);
}

TEST_CASE("overflow, infinities and NaN of the small floats", "[quant]") {
  const float inf = HUGE_VALF, nan = std::numeric_limits<float>::quiet_NaN();
  const auto special = Overflow::special;
  CHECK(kE4M3.encode(464.f, special) == 0x7e);
  CHECK(kE4M3.encode(std::nextafter(464.f, inf), special) == 0x7f);
  CHECK(kE4M3.encode(-inf, special) == 0xff);
  CHECK(kE4M3.encode(-inf) == 0xfe);
  CHECK(kE5M2.encode(std::nextafter(61440.f, 0.f), special) == 0x7b);
  CHECK(kE5M2.encode(61440.f, special) == 0x7c);
  CHECK(kE5M2.encode(-1e30f, special) == 0xfc);
  CHECK(kE5M2.encode(inf) == 0x7b);
  CHECK(kE2M1.encode(inf, special) == 7);
  CHECK(kE4M3.encode(nan) == 0x7f);
  CHECK(kE4M3.encode(-nan) == 0xff);
  CHECK(kE5M2.encode(nan) == 0x7e);
  CHECK(kE5M2.encode(-nan, special) == 0xfe);
  for (const FloatFormat f : {kE2M1, kE2M3, kE3M2}) CHECK(f.encode(-nan) == 0);
  CHECK(kE2M1.encode(-0.1f) == 8);
}

TEST_CASE("tables of small floats are symmetric and computed when compiled", "[quant]") {
  static_assert(kFloatValues<kE2M1>[7] == 6);
  static_assert(kFloatValues<kE4M3>.size() == 256);
  static_assert(kE4M3.encode(448.f) == 0x7e);
  for (std::size_t i = 0; i < 32; ++i)
    CHECK(kFloatValues<kE3M2>[i] == -kFloatValues<kE3M2>[i + 32]);
}

TEST_CASE("E8M0 is a power of two in a byte", "[quant]") {
  for (int byte = 0; byte < 255; ++byte) {
    CHECK(decode_e8m0(static_cast<std::uint8_t>(byte)) == std::ldexp(1.f, byte - 127));
    CHECK(encode_e8m0(byte - 127) == byte);
  }
  CHECK(std::isnan(decode_e8m0(255)));
  CHECK(encode_e8m0(-1000) == 0);
  CHECK(encode_e8m0(1000) == 254);
}
