/// The unfused rows of the benchmark are a fair opponent only if they are right.
#include "../../bench/support/unfused.hpp"

#include "../../bench/support/inputs.hpp"
#include "reference/softmax.hpp"
#include "support/catch.hpp"

#include <string>

namespace {

using bench::uniform;
using weft::Index;

template <class S>
reference::Values values_of(const weft::Tensor<S, 4>& tensor) {
  return {tensor.span().begin(), tensor.span().end()};
}

struct Shape {
  Index heads, kv_heads, queries, keys, key_dim, value_dim;
};

template <class S>
void check(const Shape& s, bool causal, double tolerance) {
  const auto q = uniform<S>({2, s.heads, s.queries, s.key_dim}, 1);
  const auto k = uniform<S>({2, s.kv_heads, s.keys, s.key_dim}, 2);
  const auto v = uniform<S>({2, s.kv_heads, s.keys, s.value_dim}, 3);
  auto out = uniform<S>({2, s.heads, s.queries, s.value_dim}, 4);
  bench::UnfusedAttention<S> attend(causal);
  attend(q, k, v, out, weft::Context());

  const auto size = [](Index n) { return static_cast<std::size_t>(n); };
  reference::AttentionSizes sizes{2,
                                  size(s.heads),
                                  size(s.kv_heads),
                                  size(s.queries),
                                  size(s.keys),
                                  size(s.key_dim),
                                  size(s.value_dim)};
  reference::AttentionOptions options;
  if (causal) options.causal = reference::CausalMode::bottom_right;
  const auto expected =
      reference::attention(sizes, values_of(q), values_of(k), values_of(v), options).out;
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    worst = std::max(worst, std::abs(expected[i] - static_cast<double>(out.span()[i])));
  CHECK(worst < tolerance);
}

const Shape kShapes[] = {{2, 2, 5, 5, 8, 8}, {4, 2, 7, 33, 40, 24}, {3, 3, 1, 64, 16, 16}};

}  // namespace

// |out| < 1, a weighted mean of values. Rounding of a logit, |s| < sqrt(D), shifts its weight by
// about eps sqrt(D), and storing adds half an ulp: 16 eps covers both.
TEST_CASE("unfused attention agrees with the reference", "[bench]") {
  for (const Shape& shape : kShapes)
    for (const bool causal : {false, true}) {
      check<double>(shape, causal, 16 * 0x1p-52);
      check<float>(shape, causal, 16 * 0x1p-23);
      check<weft::bf16>(shape, causal, 0x1p-8);
    }
}

TEST_CASE("softmax_row zeroes what is not visible", "[bench]") {
  alignas(64) float row[48];
  for (int visible = 0; visible <= 40; ++visible) {
    std::fill(std::begin(row), std::end(row), 3.f);
    bench::softmax_row(row, 2.f, visible, 40);
    for (int j = 0; j < visible; ++j) CHECK(row[j] == Approx(1.0 / visible).epsilon(1e-6));
    for (int j = visible; j < 40; ++j) CHECK(row[j] == 0.f);
  }
}
