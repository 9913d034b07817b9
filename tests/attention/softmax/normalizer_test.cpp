#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/normalizer.hpp>

#include <cmath>
#include <vector>

using namespace weft;

namespace {

constexpr double kLog2e = 1.4426950408889634074;

/// The weight that exp(m) carries in the output: factor * l = l exp(m) / (l exp(m) + exp(z)).
double expected_mass(double m, double l, double z) { return 1 / (1 + std::exp(z - m) / l); }

/// Some row of a head.
Row row_of(Index head) { return {0, head, 0, 1, 1}; }

/// m and z in natural units.
template <class T, class Z>
double mass(const Z& normalizer, double m, double l, Index head) {
  return double{normalizer.factor(static_cast<T>(m * kLog2e), static_cast<T>(l), row_of(head))} * l;
}

}  // namespace

TEST_CASE("normalizers: the factor makes the weights sum to what they should", "[softmax]") {
  const std::vector<float> logits{-3, 0, 0.5f, 4};
  const SinkSoftmax sink{view_of(logits)};
  for (const double m : {-50.0, -3.0, 0.0, 2.5, 60.0}) {
    for (const double l : {1.0, 7.25, 1e4}) {
      CHECK(mass<double>(PlainSoftmax{}, m, l, 0) == Approx(1.0).epsilon(1e-14));
      CHECK(mass<float>(PlainSoftmax{}, m, l, 0) == Approx(1.0).epsilon(1e-6));
      const double off = expected_mass(m, l, 0);
      CHECK(mass<double>(OffByOneSoftmax{}, m, l, 0) == Approx(off).epsilon(1e-13));
      CHECK(mass<float>(OffByOneSoftmax{}, m, l, 0) == Approx(off).epsilon(2e-5));
      for (Index h = 0; h < 4; ++h) {
        const double with = expected_mass(m, l, double{logits[static_cast<std::size_t>(h)]});
        CHECK(mass<double>(sink, m, l, h) == Approx(with).epsilon(1e-13));
        CHECK(mass<float>(sink, m, l, h) == Approx(with).epsilon(2e-5));
      }
    }
  }
}

TEST_CASE("normalizers: rows without keys, and logits far apart", "[softmax]") {
  const std::vector<float> logits{0, -INFINITY, 1000};
  const SinkSoftmax sink{view_of(logits)};
  const float none = -INFINITY;
  for (Index h = 0; h < 3; ++h) CHECK(sink.factor(none, 0.f, row_of(h)) == 0.f);
  CHECK(PlainSoftmax{}.factor(none, 0.f, row_of(0)) == 0.f);
  CHECK(OffByOneSoftmax{}.factor(none, 0.f, row_of(0)) == 0.f);
  // A sink of -inf is no sink; one far above the logits takes everything.
  CHECK(sink.factor(-2000.f, 4.f, row_of(1)) == 0.25f);
  CHECK(sink.factor(0.f, 1.f, row_of(2)) == 0.f);
  CHECK(sink.factor(5000.f, 2.f, row_of(0)) == 0.5f);
  CHECK(OffByOneSoftmax{}.factor(-5000.f, 2.f, row_of(0)) == 0.f);
}

TEST_CASE("sinks: one logit per query head", "[softmax]") {
  const std::vector<float> logits{0, 1};
  CHECK(contains(message_of([&] { SinkSoftmax{view_of(logits)}.check(1, 4, 1, 1); }),
                 "2 logits for 4 query heads"));
}
