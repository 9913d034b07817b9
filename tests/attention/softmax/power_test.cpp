#include "attention/softmax/logits.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/power.hpp>

#include <cmath>

using namespace weft;
using cases::row_of;
using cases::sum_of;
using cases::weights_of;

namespace {

/// Logits of many magnitudes and signs, [3, 37].
Tensor<double, 2> many_logits(double factor) {
  auto x = even_values<double, 2>({3, 37}, 5, -2, 2);
  for (double& at : x.span()) at *= factor;
  return x;
}

}  // namespace

TEST_CASE("power: even powers over their sum", "[softmax]") {
  const auto w = weights_of(PowerSoftmax<4>{}, row_of({2, 1, 0, -1}))[0];
  const double expected[] = {16 / 18., 1 / 18., 0, 1 / 18.};
  for (std::size_t j = 0; j < 4; ++j) CHECK(w[j] == Approx(expected[j]).epsilon(1e-15));
}

TEST_CASE("power: neither sign nor scale of the logits matters without eps", "[softmax]") {
  const auto w = weights_of(PowerSoftmax<6>{}, many_logits(1));
  CHECK((weights_of(PowerSoftmax<6>{}, many_logits(-1)) == w));
  CHECK((weights_of(PowerSoftmax<6>{}, many_logits(4)) == w));  // a power of two: no rounding
  for (const auto& row : w) CHECK(sum_of(row) == Approx(1.0).epsilon(1e-14));
  for (const auto& row : weights_of(PowerSoftmax<6>{{1e-3}}, many_logits(1)))
    CHECK(sum_of(row) < 1.0);
}

TEST_CASE("power: the stable form gives the same where the other has a range", "[softmax]") {
  const auto plain = weights_of(PowerSoftmax<4>{}, many_logits(1));
  for (const double factor : {1.0, 1e150, 1e-150}) {
    const auto stable = weights_of(StablePowerSoftmax<4>{}, many_logits(factor));
    for (std::size_t i = 0; i < 3; ++i) CHECK(largest_error(stable[i], plain[i]) < 1e-14);
  }
}

TEST_CASE("power: rows of zeros weigh nothing", "[softmax]") {
  const auto zeros = row_of({0, -0.0, 0});
  CHECK(sum_of(weights_of(PowerSoftmax<4>{}, zeros)[0]) == 0);
  CHECK(sum_of(weights_of(StablePowerSoftmax<4>{}, zeros)[0]) == 0);
  CHECK(sum_of(weights_of(StablePowerSoftmax<4>{{1e-3, true}, 1e-6}, zeros)[0]) == 0);
}

TEST_CASE("power: Goldschmidt's reciprocal converges quadratically", "[softmax]") {
  for (const double b : {0.01, 0.7, 3.9}) {
    double error = std::abs(1 - b * 0.5);
    for (int n = 1; n < 12; ++n) {
      error *= error;
      CHECK(1 - b * goldschmidt_reciprocal(b, 0.5, n) == Approx(error).margin(1e-14));
    }
  }
  PowerSoftmax<4> slow{}, exact{};
  slow.division.iterations = 30;
  slow.division.start = 1e-3;  // sums up to 2000
  const auto x = many_logits(1);
  const auto got = weights_of(slow, x), expected = weights_of(exact, x);
  for (std::size_t i = 0; i < 3; ++i) CHECK(largest_error(got[i], expected[i]) < 1e-13);
}

TEST_CASE("power: parameters out of range are refused", "[softmax]") {
  const auto refusal = [](const auto& normalizer) {
    return message_of([&] { weights_of(normalizer, row_of({1})); });
  };
  CHECK(contains(refusal(PowerSoftmax<4>{{-1}}), "eps must be finite and not negative, got -1"));
  CHECK(contains(refusal(PowerSoftmax<4>{{HUGE_VAL}}), "eps must be finite"));
  CHECK(contains(refusal(PowerSoftmax<4>{{0, false, -2}}), "-2 iterations"));
  CHECK(contains(refusal(PowerSoftmax<4>{{0, false, 5}}), "a positive start, got 0"));
  CHECK(contains(refusal(StablePowerSoftmax<4>{{}, -1}), "delta must be finite"));
}
