#include "attention/softmax/logits.hpp"
#include "reference/normalizer.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/pattention.hpp>

using namespace weft;
using cases::row_of;
using cases::weights_of;

namespace {

const Tensor<double, 2> kLogits = even_values<double, 2>({3, 270}, 4, -3, 3);

template <class Z, class F>
void require_reference(const Z& normalizer, F reference) {
  const auto got = weights_of(normalizer, kLogits);
  for (Index i = 0; i < 3; ++i)
    CHECK(largest_error(got[static_cast<std::size_t>(i)],
                        reference(doubles_of(kLogits.view().select(0, i)))) < 1e-13);
}

}  // namespace

TEST_CASE("pattention: three ways to normalize", "[softmax][softmax/pattention]") {
  const double tau = std::sqrt(270.0);
  require_reference(NormalizedGelu{}, [&](auto a) { return reference::normalized_gelu(a, tau); });
  require_reference(GeluNormalized{}, [&](auto a) { return reference::gelu_normalized(a, tau); });
  require_reference(ScaledSoftmax{}, [&](auto a) { return reference::scaled_softmax(a, 270); });
  require_reference(NormalizedGelu{2}, [&](auto a) { return reference::normalized_gelu(a, 2); });
  require_reference(GeluNormalized{2}, [&](auto a) { return reference::gelu_normalized(a, 2); });
  require_reference(ScaledSoftmax{2}, [&](auto a) { return reference::scaled_softmax(a, 2); });
}

TEST_CASE("pattention: growth by zero tokens changes nothing if tau stays", "[softmax]") {
  const auto before = weights_of(NormalizedGelu{2}, row_of({1, -2, 0.5}))[0];
  const auto after = weights_of(NormalizedGelu{2}, row_of({1, -2, 0.5, 0, 0}))[0];
  for (std::size_t j = 0; j < 5; ++j) CHECK(after[j] == (j < 3 ? before[j] : 0.0));
}

TEST_CASE("pattention: the length of a does not matter, and none gives zeros", "[softmax]") {
  const auto once = weights_of(NormalizedGelu{}, row_of({1, -2, 0.5}))[0];
  CHECK((weights_of(NormalizedGelu{}, row_of({4, -8, 2}))[0] == once));
  CHECK(cases::sum_of(weights_of(NormalizedGelu{}, row_of({0, 0}))[0]) == 0);
  CHECK(cases::sum_of(weights_of(GeluNormalized{}, row_of({0, 0}))[0]) == 0);
}

TEST_CASE("pattention: factors out of range are refused", "[softmax]") {
  const auto refusal = [](const auto& normalizer) {
    return message_of([&] { weights_of(normalizer, kLogits); });
  };
  CHECK(contains(refusal(NormalizedGelu{-1}), "NormalizedGelu: tau must be finite"));
  CHECK(contains(refusal(GeluNormalized{HUGE_VAL}), "GeluNormalized: tau must be finite"));
  CHECK(contains(refusal(ScaledSoftmax{-1}), "ScaledSoftmax: total must be finite"));
}
