#include "attention/softmax/logits.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/clipped.hpp>

using namespace weft;
using cases::weights_of;

namespace {

const Tensor<double, 2> kLogits = even_values<double, 2>({4, 301}, 9, -6, 6);

}  // namespace

TEST_CASE("clipped: without stretch it is softmax", "[softmax]") {
  const auto got = weights_of(ClippedSoftmax{0, 1}, kLogits);
  const auto plain = weights_of(PlainSoftmax{}, kLogits);
  for (std::size_t i = 0; i < 4; ++i) CHECK(largest_error(got[i], plain[i]) < 1e-14);
}

TEST_CASE("clipped: weights are the stretched and clipped probabilities", "[softmax]") {
  const double gamma = -0.004, eta = 1.2;
  const auto got = weights_of(ClippedSoftmax{gamma, eta}, kLogits);
  const auto p = weights_of(PlainSoftmax{}, kLogits);
  bool clipped = false, kept = false;
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = 0; j < p[i].size(); ++j) {
      CHECK((got[i][j] >= 0 && got[i][j] <= 1));
      // At the border rounding decides.
      if (std::abs(p[i][j] + gamma / (eta - gamma)) < 1e-12) continue;
      const bool zero = p[i][j] < -gamma / (eta - gamma);
      CHECK((got[i][j] == 0) == zero);
      (zero ? clipped : kept) = true;
    }
  }
  CHECK(clipped);
  CHECK(kept);
  // One key that has everything is clipped at 1, and rows may do nothing at all.
  CHECK(weights_of(ClippedSoftmax{}, cases::row_of({50, 0}))[0][0] == 1);
  CHECK(cases::sum_of(weights_of(ClippedSoftmax{-0.3, 1}, cases::row_of({0, 0, 0, 0, 0}))[0]) == 0);
}

TEST_CASE("clipped: the form for a maximum length", "[softmax]") {
  const ClippedSoftmax form = ClippedSoftmax::for_length(4, 16);
  CHECK(form.gamma == -0.25);
  CHECK(form.eta == 1);
  CHECK(contains(message_of([] { ClippedSoftmax::for_length(4, 0); }), "must be positive, got 0"));
}

TEST_CASE("clipped: parameters that lift hidden keys or turn the order are refused", "[softmax]") {
  const auto refusal = [](const ClippedSoftmax& clipped) {
    return message_of([&] { weights_of(clipped, kLogits); });
  };
  CHECK(contains(refusal({0.1, 1}), "gamma must be at most 0"));
  CHECK(contains(refusal({-0.1, -0.2}), "less than eta"));
  CHECK(contains(refusal({-0.1, HUGE_VAL}), "both finite"));
}
