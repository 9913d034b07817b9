#include "reference/position.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/core/dtype.hpp>
#include <weft/position/sinusoidal.hpp>

using namespace weft;

TEST_CASE("sinusoidal positions are those of the paper", "[position]") {
  for (Index channels : {1, 2, 6, 64, 65}) {
    Poisoned<double, 2> out({9, channels});
    sinusoidal_positions(Sinusoids{}, out.view(), 1000);
    for (Index n = 0; n < 9; ++n) {
      const auto expected =
          reference::sinusoid(static_cast<double>(1000 + n), static_cast<std::size_t>(channels));
      REQUIRE(largest_error(doubles_of(out.view().select(0, n)), expected) < 1e-12);
    }
    REQUIRE(out.guards_intact());
  }
}

TEST_CASE("concatenated sinusoids are a permutation of the interleaved ones", "[position]") {
  Tensor<float, 2> apart({5, 10}), together({5, 10});
  sinusoidal_positions(Sinusoids{}, apart.view());
  sinusoidal_positions(Sinusoids{Sinusoids::Layout::concatenated}, together.view());
  for (Index n = 0; n < 5; ++n)
    for (Index c = 0; c < 5; ++c) {
      REQUIRE(together(n, c) == apart(n, 2 * c));
      REQUIRE(together(n, 5 + c) == apart(n, 2 * c + 1));
    }
}

TEST_CASE("closed spacing ends at 1 / base", "[position]") {
  const Sinusoids closed{Sinusoids::Layout::concatenated, Sinusoids::Spacing::closed, 500};
  REQUIRE(sinusoid_frequency(closed, 0, 12) == 1.0);
  REQUIRE(sinusoid_frequency(closed, 5, 12) == Approx(1 / 500.0).epsilon(1e-15));
  REQUIRE(sinusoid_frequency(closed, 2, 12) == Approx(std::pow(500.0, -0.4)).epsilon(1e-15));
  REQUIRE(sinusoid_frequency(closed, 0, 2) == 1.0);
}

TEST_CASE("sinusoids round once into 16-bit elements", "[position]") {
  Tensor<double, 2> exact({3, 8});
  Tensor<bf16, 2> rounded({3, 8});
  sinusoidal_positions(Sinusoids{}, exact.view(), 70);
  sinusoidal_positions(Sinusoids{}, rounded.view(), 70);
  const double half_ulp = 0x1p-8;
  REQUIRE(largest_error(doubles_of(rounded.view()), doubles_of(exact.view())) <= half_ulp);
}

TEST_CASE("sinusoids refuse a base that is no number above zero", "[position][errors]") {
  Tensor<float, 2> out({1, 4});
  Sinusoids s;
  for (double base : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()}) {
    s.base = base;
    REQUIRE(contains(message_of([&] { sinusoidal_positions(s, out.view()); }), "base is"));
  }
}
