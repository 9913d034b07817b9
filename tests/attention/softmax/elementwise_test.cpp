#include "attention/softmax/logits.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/elementwise.hpp>

#include <cmath>

using namespace weft;
using cases::row_of;
using cases::weights_of;

namespace {

const double kNone = -HUGE_VAL;
using Weights = std::vector<double>;

}  // namespace

TEST_CASE("relu: one over n, of one key, all keys or the visible ones", "[softmax]") {
  const auto x = row_of({-2, 3, kNone, 0.5});
  CHECK((weights_of(ReluWeights<>{Count::one}, x)[0] == Weights{0, 3, 0, 0.5}));
  CHECK((weights_of(ReluWeights<>{Count::keys}, x)[0] == Weights{0, 0.75, 0, 0.125}));
  CHECK(weights_of(ReluWeights<>{}, x)[0][1] == Approx(1.0).epsilon(1e-15));
  CHECK((weights_of(ReluWeights<2>{Count::keys}, x)[0] == Weights{0, 0.5625, 0, 0.015625}));
  CHECK((weights_of(ReluWeights<3>{Count::one}, x)[0] == Weights{0, 27, 0, 0.125}));
}

TEST_CASE("identity: the logits themselves, negative ones too", "[softmax]") {
  const auto x = row_of({-2, 3, kNone, 0.5});
  CHECK((weights_of(IdentityWeights{}, x)[0] == Weights{-2, 3, 0, 0.5}));
  CHECK((weights_of(IdentityWeights{Count::keys}, x)[0] == Weights{-0.5, 0.75, 0, 0.125}));
  CHECK(weights_of(IdentityWeights{Count::visible}, x)[0][1] == Approx(1.0).epsilon(1e-15));
}

TEST_CASE("sigmoid: bias, and the logarithm of the length", "[softmax]") {
  const auto x = row_of({-2, 3, kNone, 0.5});
  const auto sigma = [](double at) { return 1 / (1 + std::exp(-at)); };
  const auto plain = weights_of(SigmoidWeights{0.25}, x)[0];
  CHECK(plain[0] == Approx(sigma(-1.75)).epsilon(1e-14));
  CHECK(plain[1] == Approx(sigma(3.25)).epsilon(1e-14));
  CHECK(plain[2] == 0);
  const auto by_length = weights_of(SigmoidWeights{0, Count::one, true}, x)[0];
  CHECK(by_length[3] == Approx(sigma(0.5 - std::log(4.0))).epsilon(1e-14));
  const auto shared = weights_of(SigmoidWeights{0, Count::visible}, x)[0];
  CHECK(shared[3] == Approx(sigma(0.5) / 3).epsilon(1e-14));
}

TEST_CASE("element-wise weights: a key's weight does not depend on other keys", "[softmax]") {
  const auto few = row_of({1.5, -0.25}), many = row_of({1.5, -0.25, 8, kNone, 2});
  const auto check = [&](const auto& normalizer) {
    CHECK(weights_of(normalizer, few)[0][0] == weights_of(normalizer, many)[0][0]);
  };
  check(ReluWeights<>{Count::one});
  check(SigmoidWeights{-1});
}

TEST_CASE("sigmoid: a bias that is not finite is refused", "[softmax]") {
  CHECK(contains(message_of([&] { weights_of(SigmoidWeights{HUGE_VAL}, row_of({1})); }),
                 "SigmoidWeights: bias must be finite"));
}
