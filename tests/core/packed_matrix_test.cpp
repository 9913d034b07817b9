#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/products.hpp"
#include <weft/core/gemm.hpp>
#include <weft/core/packed_matrix.hpp>

using namespace weft;

TEMPLATE_TEST_CASE("gemm with a packed operand agrees with the reference", "[packed_matrix]", float,
                   double, bf16) {
  const Context ctx;
  for (const auto& [m, n, k] : {std::array<Index, 3>{1, 1, 1},
                                {1, 100, 77},
                                {6, 33, 20},
                                {14, 64, 600},
                                {47, 31, 1100},
                                {130, 257, 8}})
    for (const Layout layout : {Layout::rows, Layout::columns, Layout::scattered}) {
      const Operand<TestType> a(m, k, Layout::rows, 1), b(k, n, layout, 2);
      const PackedMatrix<TestType> packed(b.view);
      const Poisoned<TestType, 2> got({m, n});
      gemm(a.view, packed, got.view(), ctx);
      INFO(m << " x " << n << " x " << k << ", B in " << name(layout));
      CHECK(error_in_bounds<Accumulator<TestType>>(got.view(), a.values, b.values) <= 1);
      CHECK(got.guards_intact());
    }
}

TEST_CASE("a packed operand takes its elements from any storage type", "[packed_matrix]") {
  const Operand<float> a(9, 50, Layout::rows, 3);
  const Operand<bf16> b(50, 70, Layout::columns, 4);
  const Poisoned<float, 2> got({9, 70});
  gemm(a.view, PackedMatrix<float>(b.view), got.view());
  CHECK(error_in_bounds<float>(got.view(), a.values, b.values) <= 1);
}

TEMPLATE_TEST_CASE("a row's product does not depend on the rows beside it", "[packed_matrix]",
                   float, double) {
  const Operand<TestType> a(47, 1100, Layout::rows, 5), b(1100, 210, Layout::rows, 6);
  const PackedMatrix<TestType> packed(b.view);
  const Poisoned<TestType, 2> together({47, 210}), alone({1, 210});
  gemm(a.view, packed, together.view());
  for (const Index m : {0, 13, 46}) {
    gemm(a.view.slice(0, m, 1), packed, alone.view());
    CHECK(doubles_of(alone.view()) == doubles_of(together.view().slice(0, m, 1)));
  }
}

TEST_CASE("a packed operand knows its shape and size", "[packed_matrix]") {
  const Tensor<float, 2> b({10, 3});
  const PackedMatrix<float> packed(b);
  CHECK(packed.depth() == 10);
  CHECK(packed.cols() == 3);
  CHECK(packed.bytes() == 10 * detail::kTileCols<float, DefaultArch> * Index{sizeof(float)});
  CHECK(PackedMatrix<float>().cols() == 0);
  CHECK(contains(message_of([] {
                   PackedMatrix<float> p(View<float, 2>(nullptr, {2, 3}));
                 }),
                 "[2, 3] has no data"));
}
