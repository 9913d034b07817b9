#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/layer/any_operator.hpp>
#include <weft/layer/ffn.hpp>
#include <weft/quant/int8_operator.hpp>

namespace {

using namespace weft;
using Dense = DenseOperator<float>;
using Int8 = quant::Int8Operator<>;
using Any = AnyOperator<Dense, Int8>;
static_assert(FusedOperator<Any>);
static_assert(!std::constructible_from<Any, DenseOperator<double>>);

template <class Op>
Tensor<float, 2> applied(const Op& op, const Tensor<float, 2>& x) {
  Tensor<float, 2> y({x.extent(0), op.rows()});
  std::fill_n(y.data(), y.size(), 0.5f);
  op.apply(View<const float, 2>(x), y.view(), AddResidual{y.view()}, Context{});
  return y;
}

bool equal(const Tensor<float, 2>& a, const Tensor<float, 2>& b) {
  return std::equal(a.span().begin(), a.span().end(), b.span().begin(), b.span().end());
}

}  // namespace

TEST_CASE("any operator: it is the one that was put in") {
  const auto weight = even_values<float>(std::array<Index, 2>{7, 12}, 1, -1, 1);
  const auto x = even_values<float>(std::array<Index, 2>{5, 12}, 2, -1, 1);
  Any op = Dense(weight.view());
  CHECK(op.rows() == 7);
  CHECK(op.cols() == 12);
  CHECK(op.get_if<Dense>() != nullptr);
  CHECK(op.get_if<Int8>() == nullptr);
  const auto dense = applied(op, x);
  CHECK(equal(dense, applied(Dense(weight.view()), x)));

  op = Int8(weight.view());
  CHECK(op.get_if<Dense>() == nullptr);
  const auto rounded = applied(op, x);
  CHECK(equal(rounded, applied(Int8(weight.view()), x)));
  CHECK_FALSE(equal(rounded, dense));

  Tensor<float, 2> y({5, 6});
  CHECK(contains(message_of([&] { op.apply(View<const float, 2>(x), y.view()); }), "7 rows"));
}

TEST_CASE("any operator: a model goes on with what takes its place") {
  const auto up = even_values<float>(std::array<Index, 2>{16, 8}, 3, -1, 1);
  const auto down = even_values<float>(std::array<Index, 2>{8, 16}, 4, -1, 1);
  const auto x = even_values<float>(std::array<Index, 2>{3, 8}, 5, -1, 1);
  FeedForward<Any, Relu> mlp(Dense(up.view()), Dense(down.view()));
  mlp.in() = Int8(up.view());
  mlp.down() = Int8(down.view());
  const FeedForward<Int8, Relu> expected(Int8(up.view()), Int8(down.view()));
  CHECK(equal(applied(mlp, x), applied(expected, x)));
}
