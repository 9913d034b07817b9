#include "support/catch.hpp"
#include "support/math_functions.hpp"
#include "support/ulp.hpp"
#include <weft/core/math.hpp>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

// Infinities, NaN and signed zeros are in math_edge_test.cpp.

namespace {

using weft::Index;

#if defined(__FAST_MATH__)
constexpr bool kFastMath = true;
#else
constexpr bool kFastMath = false;
#endif

// Multiply-add rounds once.
constexpr bool kFma = weft::kWidth<float> >= 8;

// With -ffast-math the low parts of numbers kept in two vanish.
template <class Function>
double bound_of(const Function& f) {
  if (kFastMath) return 128;
  return kFma ? f.fma_bound : f.plain_bound;
}

// The documented errors hold for every number; with -ffast-math for normal ones, well inside float.
bool in_domain(double x) {
  const auto exponent = static_cast<int>(std::bit_cast<std::uint64_t>(x) >> 52 & 0x7ff) - 1023;
  return !kFastMath || (exponent >= -126 && exponent < 127);
}

struct Worst {
  double ulp = 0;
  double at = 0;
};

// All exponents and signs, with the neighbourhood of every power of two and of zero, and half a
// million bit patterns in between. Infinities and NaN are among them.
std::vector<float> sample_of(const FloatFunction& f) {
  std::vector<float> out;
  const auto add = [&](std::uint32_t bits) {
    const auto x = std::bit_cast<float>(f.nonpositive_only ? bits | 0x80000000u : bits);
    if (in_domain(double{x})) out.push_back(x);
  };
  for (std::uint32_t exponent = 0; exponent < 512; ++exponent)
    for (std::uint32_t offset = 0; offset < 64; ++offset) add((exponent << 23) + offset - 32);
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 8209)
    add(static_cast<std::uint32_t>(bits));
  return out;
}

// Uniform in the interval, bunched towards zero, and spread over all exponents.
std::vector<double> sample_of(const DoubleFunction& f) {
  std::mt19937_64 random(20240607);
  std::uniform_real_distribution<double> inside(static_cast<double>(f.from),
                                                static_cast<double>(f.to));
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<double> out;
  const auto add = [&](double x) {
    if (in_domain(x)) out.push_back(x);
  };
  for (int i = 0; i < 50'000; ++i) {
    const double x = inside(random);
    add(x);
    add(x * std::exp(-12 * unit(random)));
    add(std::copysign(std::ldexp(unit(random), -static_cast<int>(random() % 1070)), x));
  }
  return out;
}

template <class Function>
Worst worst_of(const Function& f) {
  using T = typename Function::Element;
  using V = typename Function::V;
  T in[V::size] = {}, out[V::size];
  const auto sample = sample_of(f);
  Worst worst;
  for (std::size_t i = 0; i < sample.size(); i += V::size) {
    const std::size_t n = std::min(V::size, sample.size() - i);
    std::copy_n(sample.begin() + static_cast<Index>(i), n, in);
    f.value(V::load_unaligned(in)).store_unaligned(out);
    for (std::size_t l = 0; l < n; ++l) {
      const auto want = f.reference(in[l]);
      if (!in_domain(static_cast<double>(want))) continue;
      const double ulp = ulp_distance(out[l], want);
      if (ulp > worst.ulp) worst = {ulp, double{in[l]}};
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("float functions keep their documented errors", "[math]") {
  for (const FloatFunction& f : kFloatFunctions) {
    const Worst worst = worst_of(f);
    INFO(f.name << " is worst at " << worst.at);
    CHECK(worst.ulp <= bound_of(f));
  }
}

TEST_CASE("double functions keep their documented errors", "[math]") {
  for (const DoubleFunction& f : kDoubleFunctions) {
    const Worst worst = worst_of(f);
    INFO(f.name << " is worst at " << worst.at);
    CHECK(worst.ulp <= bound_of(f));
  }
}

TEST_CASE("math functions treat every lane by itself", "[math]") {
  using V = FloatFunction::V;
  for (const FloatFunction& f : kFloatFunctions) {
    const float alone = f.value(V(-0.7f)).get(0);
    for (std::size_t lane = 0; lane < V::size; ++lane) {
      float in[V::size];
      std::fill_n(in, V::size, -1e30f);
      in[lane] = -0.7f;
      INFO(f.name << ", lane " << lane);
      const float among_others = f.value(V::load_unaligned(in)).get(lane);
      CHECK(std::bit_cast<std::uint32_t>(among_others) == std::bit_cast<std::uint32_t>(alone));
    }
  }
}
