#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/plain_operator.hpp"
#include "support/values.hpp"
#include <weft/layer/linear.hpp>

using namespace weft;

TEST_CASE("a linear layer takes arrays of any rank", "[layer]") {
  const Linear<> layer{DenseOperator<float>(even_values<float, 2>({6, 10}, 1))};
  REQUIRE(layer.rows() == 6);
  REQUIRE(layer.cols() == 10);
  const auto x = even_values<float, 2>({12, 10}, 2);
  Tensor<float, 2> flat({12, 6});
  layer.apply(x, flat);

  const auto cube = View<const float, 4>(x.data(), {2, 3, 2, 10});
  Poisoned<float, 4> y({2, 3, 2, 6});
  layer.apply(cube, y.view());
  REQUIRE(doubles_of(y.view()) == doubles_of(flat.view()));
  REQUIRE(y.guards_intact());

  Tensor<float, 1> row({6});
  layer.apply(x.view().select(0, 5), row);
  REQUIRE(largest_error(doubles_of(row.view()), doubles_of(flat.view().select(0, 5))) < 1e-6);
}

TEST_CASE("a linear layer takes rows with gaps", "[layer]") {
  const Linear<PlainOperator> layer{PlainOperator(even_values<float, 2>({6, 10}, 1))};
  const auto wide = even_values<float, 3>({2, 3, 25}, 2);
  const auto x = wide.view().slice(2, 7, 10);
  Tensor<float, 3> y({2, 3, 6});
  layer.apply(x, y);
  for (Index i = 0; i < 2; ++i) {
    Tensor<float, 2> part({3, 6});
    layer.apply(x.select(0, i), part);
    REQUIRE(doubles_of(y.view().select(0, i)) == doubles_of(part.view()));
  }
}

TEST_CASE("a linear layer passes epilogues on", "[layer]") {
  const Linear<> layer{DenseOperator<float>(even_values<float, 2>({6, 10}, 1))};
  const auto x = even_values<float, 3>({2, 3, 10}, 2);
  Tensor<float, 3> y({2, 3, 6}), doubled({2, 3, 6});
  layer.apply(x, y);
  layer.apply(x, doubled, Scale{2.f});
  for (Index i = 0; i < y.size(); ++i) REQUIRE(doubled.data()[i] == 2 * y.data()[i]);
}

TEST_CASE("a linear layer refuses axes that are not one after another", "[layer][errors]") {
  const Linear<> layer{DenseOperator<float>(even_values<float, 2>({6, 10}, 1))};
  const Tensor<float, 3> x({2, 3, 10});
  Tensor<float, 3> y({3, 2, 6});
  REQUIRE(contains(message_of([&] { layer.apply(x.view().transpose(0, 1), y); }),
                   "the leading axes of x [3, 2, 10] must follow one another"));
}
