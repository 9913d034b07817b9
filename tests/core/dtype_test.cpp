#include "support/catch.hpp"
#include <weft/core/dtype.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

using weft::bf16;
using weft::fp16;
using weft::Index;
using A = weft::DefaultArch;

struct Format {
  int mantissa_bits;
  int min_exponent;  // of the smallest normal number
  int max_exponent;  // of the largest number
};
constexpr Format kBf16{7, -126, 127};
constexpr Format kFp16{10, -14, 15};

template <class S>
constexpr Format format_of() {
  return std::is_same_v<S, bf16> ? kBf16 : kFp16;
}

// The value of a bit pattern from the definition of binary floating point.
double value_of(std::uint16_t bits, const Format& f) {
  const int exponent_bits = 15 - f.mantissa_bits;
  const int exponent = (bits >> f.mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << f.mantissa_bits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1)
    return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN() : sign * HUGE_VAL;
  const int hidden = exponent == 0 ? 0 : 1 << f.mantissa_bits;
  const int scale = std::max(exponent, 1) - 1 + f.min_exponent - f.mantissa_bits;
  return sign * std::ldexp(mantissa + hidden, scale);
}

// The nearest value of the format, ties to even, by rounding a quotient.
double nearest(double x, const Format& f) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), f.min_exponent);
  const double quantum = std::ldexp(1., exponent - f.mantissa_bits);
  const double rounded = std::nearbyint(x / quantum) * quantum;
  const double limit = std::ldexp(2., f.max_exponent);
  return std::abs(rounded) >= limit ? std::copysign(HUGE_VAL, x) : rounded;
}

// Every value of the format, the midpoints between neighbours, and the floats around both.
template <class S>
std::vector<float> rounding_cases() {
  std::vector<float> cases;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double here = value_of(static_cast<std::uint16_t>(bits), format_of<S>());
    const double next = value_of(static_cast<std::uint16_t>(bits + 1), format_of<S>());
    if (std::isnan(here)) continue;
    for (double x : {here, (here + next) / 2}) {
      const auto y = static_cast<float>(x);
      cases.insert(cases.end(), {y, std::nextafter(y, -HUGE_VALF), std::nextafter(y, HUGE_VALF)});
    }
  }
  return cases;
}

// Floats of all exponents and signs with pseudo-random mantissas, NaNs included.
std::vector<float> scattered_floats() {
  std::vector<float> out;
  for (std::uint32_t i = 0; i < (1u << 20); ++i)
    out.push_back(std::bit_cast<float>(i * 2654435761u));
  return out;
}

template <class S>
std::vector<S> all_patterns() {
  std::vector<S> out;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits)
    out.push_back(S::from_bits(static_cast<std::uint16_t>(bits)));
  return out;
}

template <class S>
bool rounds_like_reference(float x) {
  const S got(x);
  const double want = nearest(x, format_of<S>());
  const double value = value_of(got.bits, format_of<S>());
  if (std::isnan(x)) return std::isnan(value) && (got.bits >> 15 != 0) == std::signbit(x);
  return value == want && std::signbit(value) == std::signbit(x);
}

std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }

}  // namespace

TEMPLATE_TEST_CASE("16-bit types hold the values of their definition", "[dtype]", bf16, fp16) {
  Index wrong = 0;
  for (TestType x : all_patterns<TestType>()) {
    const double want = value_of(x.bits, format_of<TestType>());
    const float got = x;
    wrong += std::isnan(want) ? !std::isnan(got) : double{got} != want;
    wrong += std::signbit(got) != (x.bits >> 15 != 0);
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("16-bit types survive the way through float", "[dtype]", bf16, fp16) {
  Index wrong = 0;
  for (TestType x : all_patterns<TestType>()) {
    const TestType back{static_cast<float>(x)};
    const bool nan = std::isnan(static_cast<float>(x));
    const int quiet_bit = 1 << (format_of<TestType>().mantissa_bits - 1);
    wrong += back.bits != (nan ? x.bits | quiet_bit : x.bits);
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("16-bit types round to nearest even", "[dtype]", bf16, fp16) {
  Index wrong = 0;
  for (float x : rounding_cases<TestType>()) wrong += !rounds_like_reference<TestType>(x);
  for (float x : scattered_floats()) wrong += !rounds_like_reference<TestType>(x);
  CHECK(wrong == 0);
}

TEST_CASE("16-bit conversions at the edges", "[dtype]") {
  CHECK(bf16(1.00390625f).bits == 0x3f80);  // tie, down to even
  CHECK(bf16(1.01171875f).bits == 0x3f82);  // tie, up to even
  CHECK(bf16(3.4e38f).bits == 0x7f80);      // beyond the largest bf16
  CHECK(bf16(std::bit_cast<float>(0x7f800001u)).bits == 0x7fc0);
  CHECK(bf16(std::bit_cast<float>(0xffffffffu)).bits == 0xffff);
  CHECK(bf16(-0.f).bits == 0x8000);
  CHECK(bf16(std::numeric_limits<float>::denorm_min()).bits == 0);

  CHECK(fp16(65519.99f).bits == 0x7bff);
  CHECK(fp16(65520.f).bits == 0x7c00);
  CHECK(fp16(0x1p-25f).bits == 0);  // tie between 0 and the smallest denormal
  CHECK(fp16(0x1.8p-24f).bits == 2);
  CHECK(fp16(-0.f).bits == 0x8000);
  CHECK(fp16(std::bit_cast<float>(0xff800001u)).bits == 0xfe00);
}

TEST_CASE("16-bit conversions are constant expressions", "[dtype]") {
  static_assert(float{bf16(1.5f)} == 1.5f);
  static_assert(float{fp16(0x1p-24f)} == 0x1p-24f);
  static_assert(float{std::numeric_limits<fp16>::max()} == 65504.f);
  static_assert(std::is_trivially_copyable_v<bf16> && sizeof(bf16) == 2);
  static_assert(std::is_trivially_default_constructible_v<fp16> && sizeof(fp16) == 2);
  static_assert(fp16{}.bits == 0);
}

TEMPLATE_TEST_CASE("limits of the 16-bit types", "[dtype]", bf16, fp16) {
  using Limits = std::numeric_limits<TestType>;
  const Format f = format_of<TestType>();
  CHECK(double{Limits::min()} == std::ldexp(1., f.min_exponent));
  CHECK(double{Limits::max()} == std::ldexp(2. - std::ldexp(1., -f.mantissa_bits), f.max_exponent));
  CHECK(double{Limits::lowest()} == -double{Limits::max()});
  CHECK(double{Limits::epsilon()} == std::ldexp(1., -f.mantissa_bits));
  CHECK(double{Limits::denorm_min()} == std::ldexp(1., f.min_exponent - f.mantissa_bits));
  CHECK(std::isinf(float{Limits::infinity()}));
  CHECK(std::isnan(float{Limits::quiet_NaN()}));
  CHECK(std::ldexp(1., Limits::min_exponent - 1) == double{Limits::min()});
  CHECK(Limits::digits == f.mantissa_bits + 1);
}

TEMPLATE_TEST_CASE("vectors load the bits of the scalar conversion", "[dtype]", bf16, fp16) {
  const auto patterns = all_patterns<TestType>();
  constexpr Index width = weft::kWidth<float>;
  float lanes[width];
  Index wrong = 0;
  for (Index i = 0; i < static_cast<Index>(patterns.size()); i += width) {
    weft::load_as<float, A>(patterns.data() + i).store_unaligned(lanes);
    for (Index l = 0; l < width; ++l)
      wrong += bits_of(lanes[l]) != bits_of(patterns[static_cast<std::size_t>(i + l)]);
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("vectors store the bits of the scalar conversion", "[dtype]", bf16, fp16) {
  auto cases = rounding_cases<TestType>();
  const auto scattered = scattered_floats();
  cases.insert(cases.end(), scattered.begin(), scattered.end());
  constexpr Index width = weft::kWidth<float>;
  cases.resize(cases.size() / width * width);
  TestType lanes[width];
  Index wrong = 0;
  for (std::size_t i = 0; i < cases.size(); i += width) {
    weft::store_as<A>(lanes, weft::load<A>(cases.data() + i));
    for (std::size_t l = 0; l < width; ++l) wrong += lanes[l].bits != TestType(cases[i + l]).bits;
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("partial loads and stores stay within n lanes", "[dtype]", float, bf16, fp16) {
  constexpr Index width = weft::kWidth<float>;
  for (Index n = 0; n <= width; ++n) {
    // Exactly n elements on the heap: a sanitizer sees a read beyond them.
    std::vector<TestType> in;
    for (Index i = 0; i < n; ++i) in.emplace_back(static_cast<float>(i) + 0.5f);
    const auto v = weft::load_as_partial<float, A>(in.data(), n);
    float lanes[width];
    v.store_unaligned(lanes);
    for (Index i = 0; i < width; ++i)
      CHECK(lanes[i] == (i < n ? static_cast<float>(i) + 0.5f : 0.f));

    std::vector<TestType> out(static_cast<std::size_t>(width), TestType(-7.f));
    weft::store_as_partial<A>(out.data(), v + 1.f, n);
    for (Index i = 0; i < width; ++i)
      CHECK(float{out[static_cast<std::size_t>(i)]} ==
            (i < n ? static_cast<float>(i) + 1.5f : -7.f));
  }
}

TEMPLATE_TEST_CASE("double registers read and write float and double", "[dtype]", float, double) {
  constexpr Index width = weft::kWidth<double>;
  for (Index n = 0; n <= width; ++n) {
    std::vector<TestType> in;
    for (Index i = 0; i < n; ++i) in.push_back(static_cast<TestType>(i) + TestType(0.5));
    const auto v = weft::load_as_partial<double, A>(in.data(), n);
    for (Index i = 0; i < width; ++i)
      CHECK(v.get(static_cast<std::size_t>(i)) == (i < n ? static_cast<double>(i) + 0.5 : 0.));

    std::vector<TestType> out(static_cast<std::size_t>(width), TestType(-7));
    weft::store_as_partial<A>(out.data(), v, n);
    for (Index i = 0; i < width; ++i)
      CHECK(out[static_cast<std::size_t>(i)] ==
            (i < n ? static_cast<TestType>(i) + TestType(0.5) : TestType(-7)));
  }
  std::vector<TestType> row(width, TestType(0.1));
  weft::store_as<A>(row.data(), weft::load_as<double, A>(row.data()) * 2.);
  CHECK(row.back() == TestType(0.1) * 2);
}
