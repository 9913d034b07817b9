#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/products.hpp"
#include <weft/core/epilogue.hpp>
#include <weft/core/gemm.hpp>

using namespace weft;

namespace {

struct Negate {
  template <class V>
  V operator()(V v) const noexcept {
    return -v;
  }
};

/// Lanes of the shape that an epilogue sees: 5 x 37 with a depth of one pass and of three.
struct Product {
  Operand<float> a, b;
  Poisoned<float, 2> plain{{5, 37}}, got{{5, 37}};

  explicit Product(Index depth) : a(5, depth, Layout::rows, 1), b(depth, 37, Layout::rows, 2) {
    gemm(a.view, b.view, plain.view());
  }

  template <class E, class F>
  void check(const E& epilogue, F expected) {
    gemm(a.view, b.view, got.view(), epilogue);
    for (Index m = 0; m < 5; ++m)
      for (Index n = 0; n < 37; ++n)
        CHECK(got.view()(m, n) == Approx(expected(plain.view()(m, n), m, n)).margin(1e-5));
    CHECK(got.guards_intact());
  }
};

}  // namespace

TEST_CASE("every epilogue is applied once, to the finished sum", "[epilogue]") {
  Product product(GENERATE(10, 1200));
  const auto bias = even_values<float, 1>({37}, 3);
  const auto residual = even_values<float, 2>({5, 37}, 4);
  product.check(Bias{bias}, [&](float x, Index, Index n) { return x + bias(n); });
  product.check(AddResidual{residual},
                [&](float x, Index m, Index n) { return x + residual(m, n); });
  product.check(Scale{-2.5f}, [](float x, Index, Index) { return -2.5f * x; });
  product.check(Activate<Negate>{}, [](float x, Index, Index) { return -x; });
  product.check(Then{Bias{bias}, Then{Scale{3.f}, AddResidual{residual}}},
                [&](float x, Index m, Index n) { return 3.f * (x + bias(n)) + residual(m, n); });
}

TEST_CASE("the residual may be C itself", "[epilogue]") {
  Product product(GENERATE(10, 1200));
  gemm(product.a.view, product.b.view, product.got.view());
  gemm(product.a.view, product.b.view, product.got.view(), AddResidual{product.got.view()});
  for (Index m = 0; m < 5; ++m)
    for (Index n = 0; n < 37; ++n)
      CHECK(product.got.view()(m, n) == Approx(2 * product.plain.view()(m, n)).margin(1e-5));
}

TEST_CASE("epilogues read any storage type", "[epilogue]") {
  Product product(20);
  const auto bias = even_values<bf16, 1>({37}, 3);
  const auto residual = even_values<fp16, 2>({5, 37}, 4);
  product.check(Bias{bias}, [&](float x, Index, Index n) { return x + float(bias(n)); });
  product.check(AddResidual{residual},
                [&](float x, Index m, Index n) { return x + float(residual(m, n)); });
}

TEST_CASE("an epilogue that does not fit is refused before C is touched", "[epilogue]") {
  const Product product(4);
  const auto run = [&](const auto& epilogue) {
    return message_of([&] { gemm(product.a.view, product.b.view, product.got.view(), epilogue); });
  };
  Tensor<float, 1> short_bias({36}), long_bias({74});
  Tensor<float, 2> residual({37, 5});
  CHECK(contains(run(Bias{short_bias}), "36 values for a product of 37 columns"));
  const View<float, 1> strided(long_bias.data(), {37}, {2});
  CHECK(contains(run(Bias{strided}), "stride 2, need 1"));
  CHECK(contains(run(AddResidual{residual}), "values are [37, 5], the product is [5, 37]"));
  CHECK(contains(run(Then{Scale{1.f}, AddResidual{residual.view().transpose(0, 1)}}),
                 "stride 5, need 1"));
  CHECK(std::isnan(product.got.view()(0, 0)));
}
