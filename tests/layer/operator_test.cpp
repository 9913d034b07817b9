#include "reference/feed_forward.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/plain_operator.hpp"
#include "support/values.hpp"
#include <weft/layer/operator.hpp>

using namespace weft;

static_assert(Operator<DenseOperator<float>> && FusedOperator<DenseOperator<float>>);
static_assert(Operator<DenseOperator<double>, double>);
static_assert(Operator<PlainOperator> && !FusedOperator<PlainOperator>);

namespace {

std::vector<double> expected_rows(const std::vector<double>& weight,
                                  const std::vector<double>& bias, View<const float, 2> x) {
  std::vector<double> out;
  for (Index n = 0; n < x.extent(0); ++n) {
    const auto row = reference::linear(weight, bias, doubles_of(x.select(0, n)));
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

}  // namespace

TEST_CASE("a dense operator multiplies and adds its bias", "[layer]") {
  for (Index n : {0, 1, 3, 64})
    for (Index rows : {1, 7, 96})
      for (Index cols : {1, 33, 128}) {
        const auto w = even_values<float, 2>({rows, cols}, 1);
        const auto b = even_values<float, 1>({rows}, 2);
        const auto x = even_values<float, 2>({n, cols}, 3);
        const double tolerance = static_cast<double>(cols + 2) * 6e-8;
        Poisoned<float, 2> plain({n, rows}), with_bias({n, rows});
        DenseOperator<float>(w).apply(x.view(), plain.view());
        DenseOperator<float>(w, b).apply(x.view(), with_bias.view());
        const auto weight = doubles_of(w.view()), bias = doubles_of(b.view());
        REQUIRE(largest_error(doubles_of(plain.view()), expected_rows(weight, {}, x)) < tolerance);
        REQUIRE(largest_error(doubles_of(with_bias.view()), expected_rows(weight, bias, x)) <
                tolerance);
        REQUIRE(plain.guards_intact());
      }
}

TEST_CASE("a dense operator fuses an epilogue after its bias", "[layer]") {
  const auto w = even_values<float, 2>({5, 20}, 1);
  const auto b = even_values<float, 1>({5}, 2);
  const auto x = even_values<float, 2>({3, 20}, 3);
  const auto residual = even_values<float, 2>({3, 5}, 4);
  const DenseOperator<float> op(w, b);
  Tensor<float, 2> plain({3, 5}), in_place = residual.clone();
  op.apply(x.view(), plain.view());
  op.apply(x.view(), in_place.view(), AddResidual{in_place.view()});
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 5; ++j) REQUIRE(in_place(i, j) == plain(i, j) + residual(i, j));
}

TEST_CASE("stacked weights are one operator with the outputs side by side", "[layer]") {
  const auto q = even_values<float, 2>({4, 9}, 1), k = even_values<float, 2>({2, 9}, 2);
  const auto x = even_values<float, 2>({3, 9}, 3);
  Tensor<float, 2> together({3, 6}), apart({3, 6});
  DenseOperator<float>(stack_rows(q, k)).apply(x.view(), together.view());
  DenseOperator<float>(q).apply(x.view(), apart.view().slice(1, 0, 4));
  DenseOperator<float>(k).apply(x.view(), apart.view().slice(1, 4, 2));
  REQUIRE(largest_error(doubles_of(together.view()), doubles_of(apart.view())) < 1e-6);
}

TEST_CASE("operators refuse shapes that do not fit", "[layer][errors]") {
  const Tensor<float, 2> w({4, 9}), narrow({4, 8});
  const Tensor<float, 1> bias({3});
  REQUIRE(contains(message_of([&] { DenseOperator<float>(w, bias); }),
                   "bias has 3 values, the weight has 4 rows"));
  REQUIRE(contains(message_of([&] { stack_rows(w, narrow); }), "8 columns, the first has 9"));
  const DenseOperator<float> op(w);
  Tensor<float, 2> x({2, 9}), y({2, 5});
  REQUIRE(contains(message_of([&] { op.apply(x.view(), y.view()); }),
                   "x is [2, 9], y is [2, 5]; wanted [n, 9] and [n, 4]"));
}
