#include "attention/softmax/logits.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/top_k.hpp>

using namespace weft;
using cases::row_of;
using cases::weights_of;

namespace {

using Weights = std::vector<double>;

/// Small integers, so that most logits have equals; 300 keys are two tiles.
template <class T>
Tensor<T, 2> tied_logits() {
  Tensor<T, 2> x = even_values<T, 2>({40, 300}, 3, 0, 6);
  for (T& at : x.span()) at = std::floor(at);
  return x;
}

}  // namespace

TEST_CASE("top-k: one key is argmax with weight 1, the first of equal ones", "[softmax]") {
  CHECK((weights_of(TopK{1}, row_of({1, 4, 4, -2}))[0] == Weights{0, 1, 0, 0}));
  CHECK((weights_of(TopK{1}, row_of({-HUGE_VAL, -5, -5}))[0] == Weights{0, 1, 0}));
  CHECK((weights_of(TopK{2}, row_of({3, 1, 3, 3}))[0] == Weights{0.5, 0, 0.5, 0}));
}

TEST_CASE("top-k: as many as there are keys is softmax", "[softmax]") {
  const auto x = even_values<double, 2>({5, 280}, 2, -4, 4);
  for (const Index count : {280, 400}) {
    const auto got = weights_of(TopK{count}, x), plain = weights_of(PlainSoftmax{}, x);
    for (std::size_t i = 0; i < 5; ++i) CHECK(largest_error(got[i], plain[i]) < 1e-14);
  }
}

TEMPLATE_TEST_CASE("top-k: exactly k keys are kept, the lowest of equal ones", "[softmax]", float,
                   double) {
  const Tensor<TestType, 2> x = tied_logits<TestType>();
  for (const Index count : {1, 2, 7, 60, 255}) {
    const auto w = weights_of(TopK{count}, x);
    for (Index i = 0; i < x.extent(0); ++i) {
      Index kept = 0;
      for (Index j = 0; j < x.extent(1); ++j) {
        const bool keeps = w[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)] > 0;
        Index before = 0;
        for (Index other = 0; other < x.extent(1); ++other)
          before += x(i, other) > x(i, j) || (x(i, other) == x(i, j) && other < j) ? 1 : 0;
        if (keeps != (before < count)) FAIL("row " << i << ", key " << j << ", k = " << count);
        kept += keeps ? 1 : 0;
      }
      CHECK(kept == count);
    }
  }
}

TEST_CASE("top-k: a NaN among the logits is seen", "[softmax]") {
  for (const Index count : {1, 2, 4})
    for (const auto& logits : {row_of({NAN, 1, 4, 3}), row_of({1, 4, 3, NAN})}) {
      const auto w = weights_of(TopK{count}, logits);
      for (const double weight : w[0]) CHECK(std::isnan(weight));
    }
}

TEST_CASE("top-k: counts out of range are refused", "[softmax]") {
  CHECK(contains(message_of([] { weights_of(TopK{0}, row_of({1})); }), "count must be positive"));
  CHECK(contains(message_of([] { TopK{}.check(1, 1, 1, (Index{1} << 24) + 1); }), "2^24 keys"));
}
