#include "support/catch.hpp"
#include "support/math_functions.hpp"
#include <weft/core/math.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>

// -ffast-math promises nothing here.
#if !defined(__FAST_MATH__)

namespace {

namespace math = weft::math;
using Floats = weft::Vec<float>;
using Doubles = weft::Vec<double>;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class F>
float at(F f, float x) {
  return f(Floats(x)).get(0);
}

}  // namespace

TEST_CASE("exponentials at the edges", "[math]") {
  const auto exp = [](Floats x) { return math::exp(x); };
  const auto exp2 = [](Floats x) { return math::exp2(x); };
  CHECK(at(exp, 0.f) == 1.f);
  CHECK(at(exp, -0.f) == 1.f);
  CHECK(at(exp, kInf) == kInf);
  CHECK(at(exp, 88.8f) == kInf);
  CHECK(std::isfinite(at(exp, 88.7f)));
  CHECK(at(exp, -103.f) > 0.f);
  CHECK(at(exp, -104.f) == 0.f);
  CHECK(at(exp, -kInf) == 0.f);
  CHECK(std::isnan(at(exp, kNan)));
  for (int n = -149; n < 128; ++n) CHECK(at(exp2, static_cast<float>(n)) == std::ldexp(1.f, n));
  CHECK(at(exp2, 128.f) == kInf);
  CHECK(at(exp2, -150.f) == 0.f);
  CHECK(at(exp2, kInf) == kInf);
  CHECK(at(exp2, -kInf) == 0.f);
  CHECK(std::isnan(at(exp2, kNan)));
}

TEST_CASE("the power of two of softmax", "[math]") {
  const auto f = [](Floats x) { return math::exp2_nonpositive(x); };
  CHECK(at(f, 0.f) == 1.f);
  CHECK(at(f, -0.f) == 1.f);
  for (int n = -100; n < 0; ++n) CHECK(at(f, static_cast<float>(n)) == std::ldexp(1.f, n));
  CHECK(at(f, -100.5f) > 0x1p-101f);
  for (float x :
       {-100.6f, -101.f, -127.f, -150.f, -1e10f, std::numeric_limits<float>::lowest(), -kInf})
    CHECK(at(f, x) == 0.f);
  CHECK(std::isnan(at(f, kNan)));
  CHECK(std::isnan(at(f, -kNan)));
  CHECK(math::exp2_nonpositive(Doubles(-900.)).get(0) == 0x1p-900);
  CHECK(math::exp2_nonpositive(Doubles(-900.6)).get(0) == 0.);
  CHECK(math::exp2_nonpositive(Doubles(-std::numeric_limits<double>::infinity())).get(0) == 0.);
}

TEST_CASE("e^x and e^-x at once", "[math]") {
  const auto check = [](auto limit) {
    using T = decltype(limit);
    constexpr double bound = 2 * std::numeric_limits<T>::epsilon();
    for (int i = -2000; i <= 2000; ++i) {
      const T x = limit * static_cast<T>(i) / 2000;
      weft::Vec<T> plus, minus;
      math::exp_both(weft::Vec<T>(x), plus, minus);
      const long double up = std::exp(static_cast<long double>(x));
      CAPTURE(x);
      REQUIRE(std::abs(static_cast<double>(plus.get(0) / up - 1)) <= bound);
      REQUIRE(std::abs(static_cast<double>(minus.get(0) * up - 1)) <= bound);
    }
    weft::Vec<T> plus, minus;
    math::exp_both(weft::Vec<T>(std::numeric_limits<T>::quiet_NaN()), plus, minus);
    CHECK(std::isnan(plus.get(0)));
    CHECK(std::isnan(minus.get(0)));
  };
  check(80.f);
  check(700.);
}

TEST_CASE("logarithm at the edges", "[math]") {
  const auto log = [](Floats x) { return math::log(x); };
  CHECK(at(log, 1.f) == 0.f);
  CHECK_FALSE(std::signbit(at(log, 1.f)));
  CHECK(at(log, 0.f) == -kInf);
  CHECK(at(log, -0.f) == -kInf);
  CHECK(at(log, kInf) == kInf);
  for (float x : {-1.f, -kInf, kNan, -std::numeric_limits<float>::denorm_min()})
    CHECK(std::isnan(at(log, x)));
}

TEST_CASE("activations keep NaN and take their limits", "[math]") {
  struct Limits {
    const char* name;
    float below, above;
  };
  const Limits limits[] = {{"tanh", -1, 1},       {"tanh_quotient", -1, 1}, {"erf", -1, 1},
                           {"sigmoid", 0, 1},     {"sigmoid2", 0, 1},       {"softplus", 0, kInf},
                           {"relu", 0, kInf},     {"silu", 0, kInf},        {"gelu_erf", 0, kInf},
                           {"gelu_tanh", 0, kInf}};
  for (const Limits& limit : limits) {
    const auto* f = std::find_if(kFloatFunctions.begin(), kFloatFunctions.end(),
                                 [&](auto& g) { return std::string_view(g.name) == limit.name; });
    REQUIRE(f != kFloatFunctions.end());
    INFO(limit.name);
    CHECK(at(f->value, -kInf) == limit.below);
    CHECK(at(f->value, kInf) == limit.above);
    CHECK(at(f->value, std::numeric_limits<float>::lowest()) == limit.below);
    CHECK(std::isnan(at(f->value, kNan)));
  }
}

TEST_CASE("odd functions keep the sign of zero", "[math]") {
  CHECK(std::signbit(math::tanh(Floats(-0.f)).get(0)));
  CHECK(std::signbit(math::erf(Floats(-0.f)).get(0)));
  CHECK(std::signbit(math::silu(Floats(-0.f)).get(0)));
  CHECK_FALSE(std::signbit(math::tanh(Floats(0.f)).get(0)));
  CHECK_FALSE(std::signbit(math::erf(Floats(0.f)).get(0)));
}

TEST_CASE("double functions at the edges", "[math]") {
  constexpr double inf = std::numeric_limits<double>::infinity();
  const auto at = [](auto f, double x) { return f(Doubles(x)).get(0); };
  // A NaN with a payload in its lowest bits, which must not get into the arithmetic of exponents.
  const double payload = std::bit_cast<double>(std::uint64_t{0x7ff8000000000123});
  for (const DoubleFunction& f : kDoubleFunctions) {
    INFO(f.name);
    CHECK(std::isnan(at(f.value, payload)));
    CHECK(std::isnan(at(f.value, -payload)));
  }
  CHECK(at([](Doubles x) { return math::exp(x); }, inf) == inf);
  CHECK(at([](Doubles x) { return math::exp(x); }, -inf) == 0);
  CHECK(at([](Doubles x) { return math::exp2(x); }, 1024.) == inf);
  CHECK(at([](Doubles x) { return math::exp2(x); }, -1074.) == 0x1p-1074);
  CHECK(at([](Doubles x) { return math::log(x); }, 0.) == -inf);
  CHECK(at([](Doubles x) { return math::log(x); }, 0x1p-1074) == std::log(0x1p-1074));
  CHECK(std::isnan(at([](Doubles x) { return math::log(x); }, -1.)));
  CHECK(at([](Doubles x) { return math::tanh(x); }, -inf) == -1);
  CHECK(at([](Doubles x) { return math::erf(x); }, inf) == 1);
  CHECK(at([](Doubles x) { return math::sigmoid(x); }, -inf) == 0);
  CHECK(at([](Doubles x) { return math::softplus(x); }, inf) == inf);
  CHECK(at([](Doubles x) { return math::silu(x); }, -inf) == 0);
  CHECK(at([](Doubles x) { return math::gelu_erf(x); }, -inf) == 0);
  CHECK(at([](Doubles x) { return math::gelu_tanh(x); }, inf) == inf);
}

#endif
