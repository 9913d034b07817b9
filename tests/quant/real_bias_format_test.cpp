#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/quant/real_bias_format.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace {

using namespace weft::quant;

constexpr RealBiasFormat kFormats[] = {{3, 0}, {2, 1}, {1, 2}, {4, 3}, {5, 2},
                                       {2, 5}, {3, 4}, {1, 6}, {6, 1}, {8, 2}};

// The value of a code by its definition. Rounding e - bias costs the power up to 2e-14 of itself.
double value_of(int code, RealBiasFormat f, double bias) {
  const int fraction_values = 1 << f.mantissa_bits;
  const int magnitude = code % (1 << (f.bits() - 1));
  const int e = magnitude / fraction_values, m = magnitude % fraction_values;
  const double fraction = double(m) / fraction_values;
  const double value =
      e == 0 ? std::pow(2., 1 - bias) * fraction : std::pow(2., e - bias) * (1 + fraction);
  return code == magnitude ? value : -value;
}

// The code of the value nearest to x, on ties the even one, by trying all codes of x's sign.
int nearest_code(double x, RealBiasFormat f, double bias) {
  int best = 0;
  for (int code = 1; code < 1 << (f.bits() - 1); ++code) {
    const double d = std::abs(std::abs(x) - value_of(code, f, bias));
    const double least = std::abs(std::abs(x) - value_of(best, f, bias));
    if (d < least || (d == least && code % 2 == 0)) best = code;
  }
  return best != 0 && x < 0 ? best + (1 << (f.bits() - 1)) : best;
}

}  // namespace

TEST_CASE("every code of a format with a real bias is the value of its definition", "[quant]") {
  int wrong = 0;
  for (const RealBiasFormat f : kFormats)
    for (const double bias : {0., 1., 7.25, -2.6182}) {
      const RealBiasGrid grid(f, bias);
      for (int code = 0; code < 1 << f.bits(); ++code) {
        const double value = grid.decode(code);
        wrong += std::abs(value - value_of(code, f, bias)) > 1e-13 * std::abs(value);
        const bool minus_zero = value == 0 && code != 0;
        wrong += grid.encode(value) != (minus_zero ? 0 : code);
        wrong += grid.round_trip(value) != value;
      }
    }
  CHECK(wrong == 0);
}

TEST_CASE("rounding to a format with a real bias finds the nearest value", "[quant]") {
  int wrong = 0;
  for (const RealBiasFormat f : kFormats) {
    if (f.bits() > 8) continue;
    for (const double bias : {3., 1.3371}) {
      const double end = 1.2 * max_value(f, bias);
      for (int i = -400; i <= 400; ++i) {
        const double x = end * i / 400 * std::abs(i) / 400;
        const int code = nearest_code(x, f, bias);
        wrong += encode(x, f, bias) != code;
        wrong += round_trip(x, f, bias) != decode(code, f, bias);
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("ties of formats with a real bias go to even codes", "[quant]") {
  const RealBiasFormat e3m0{3, 0}, e2m1{2, 1};
  // E3M0 without bias: 0, 2, 4, 8, ... where the middle of two powers of two rounds up.
  CHECK(round_trip(1, e3m0, 0) == 0);
  CHECK(round_trip(1.001, e3m0, 0) == 2);
  CHECK(round_trip(3, e3m0, 0) == 4);
  CHECK(round_trip(6, e3m0, 0) == 8);
  CHECK(round_trip(5.999, e3m0, 0) == 4);
  // E2M1 with bias 1 is fp4 of OCP: 0 .5 1 1.5 2 3 4 6.
  const double middles[] = {.25, .75, 1.25, 1.75, 2.5, 3.5, 5};
  const double even[] = {0, 1, 1, 2, 2, 4, 4};
  for (int i = 0; i < 7; ++i) {
    CHECK(round_trip(middles[i], e2m1, 1) == even[i]);
    CHECK(round_trip(-middles[i], e2m1, 1) == -even[i]);
  }
}

TEST_CASE("identities of formats with a real bias", "[quant]") {
  int wrong = 0;
  for (const RealBiasFormat f : kFormats) {
    double last = -std::numeric_limits<double>::infinity();
    for (int i = -200; i <= 200; ++i) {
      const double x = 0.0173 * i * std::abs(i), bias = 2.4375;
      const double y = round_trip(x, f, bias);
      wrong += round_trip(y, f, bias) != y;
      wrong += round_trip(-x, f, bias) != -y;
      wrong += round_trip(x, f, bias + 1) != round_trip(2 * x, f, bias) / 2;
      wrong += y < last;
      last = y;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("E1M2 is a uniform grid of seven steps", "[quant]") {
  const double bias = -1.75, step = std::exp2(1 - bias) / 4;
  for (int i = -9; i <= 9; ++i)
    CHECK(round_trip((i + 0.1) * step, {1, 2}, bias) == std::clamp(i, -7, 7) * step);
}

TEST_CASE("the bias by the largest magnitude clips nothing", "[quant]") {
  for (const RealBiasFormat f : kFormats)
    for (const double absmax : {1e-30, 0.3, 1., 6., 448., 3.2e38}) {
      const double bias = min_max_bias(f, absmax);
      CHECK(max_value(f, bias) == Approx(absmax).epsilon(1e-13));
      CHECK(round_trip(absmax, f, bias) == Approx(absmax).epsilon(1e-13));
      CHECK(encode(absmax, f, bias) == (1 << (f.bits() - 1)) - 1);
    }
  CHECK(min_max_bias({4, 3}, 0) == 8);
  CHECK(min_max_bias({2, 1}, 6) == Approx(1).epsilon(1e-15));
}

TEST_CASE("formats with a real bias at the edges", "[quant]") {
  const RealBiasGrid grid({2, 1}, 1);
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(grid.round_trip(inf) == 6);
  CHECK(grid.round_trip(-1e300) == -6);
  CHECK(grid.encode(-inf) == 15);
  CHECK(grid.encode(-0.1) == 0);
  CHECK(std::isnan(grid.round_trip(std::nan(""))));
  CHECK(grid.encode(std::nan("")) == 0);
  CHECK(std::signbit(grid.round_trip(-0.)));
}

TEST_CASE("formats with a real bias refuse what they cannot be", "[quant]") {
  CHECK(contains(message_of([] { RealBiasGrid({0, 3}, 1); }), "0 exponent and 3 mantissa bits"));
  CHECK(contains(message_of([] { RealBiasGrid({9, 3}, 1); }), "from 1 to 8"));
  CHECK(contains(message_of([] { RealBiasGrid({2, 23}, 1); }), "from 0 to 22"));
  CHECK(contains(message_of([] { RealBiasGrid({2, 1}, 501); }), "exponent bias 501"));
  CHECK(contains(message_of([] { RealBiasGrid({2, 1}, std::nan("")); }), "exponent bias"));
  CHECK(contains(message_of([] { decode(16, {2, 1}, 1); }), "code 16"));
  CHECK(contains(message_of([] { decode(-1, {2, 1}, 1); }), "code -1"));
  CHECK(contains(message_of([] { min_max_bias({2, 1}, -1); }), "absmax"));
  CHECK(contains(message_of([] { min_max_bias({2, 1}, HUGE_VAL); }), "absmax"));
}
