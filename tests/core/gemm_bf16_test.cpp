#include "support/catch.hpp"
#include "support/products.hpp"
#include <weft/core/gemm.hpp>

using namespace weft;

namespace {

struct Size {
  Index m, n, k;
};

/// Around the edges of AMX tiles (16, 32), of pairs and of blocks of 32 numbers.
const Size kSizes[] = {{1, 1, 1},    {1, 130, 65},  {2, 31, 2},     {15, 33, 31},  {16, 32, 32},
                       {17, 64, 33}, {33, 100, 63}, {49, 40, 2050}, {130, 70, 129}};

}  // namespace

TEST_CASE("bf16 products of float operands err by their rounding", "[gemm_bf16]") {
  for (const Size s : kSizes) {
    const Operand<float> a(s.m, s.k, Layout::rows, 1), b(s.k, s.n, Layout::columns, 2);
    const Poisoned<float, 2> got({s.m, s.n});
    gemm(a.view, PackedMatrix<bf16>(b.view), got.view());
    INFO(s.m << " x " << s.n << " x " << s.k);
    CHECK(error_in_bounds<float>(got.view(), a.values, b.values, 1.0 / 256) <= 1);
    CHECK(got.guards_intact());
  }
}

TEST_CASE("operands of bf16 may lie in any order", "[gemm_bf16]") {
  for (const Size s : kSizes)
    for (const Layout la : {Layout::rows, Layout::columns, Layout::scattered})
      for (const Layout lb : {Layout::rows, Layout::columns, Layout::scattered}) {
        const Operand<bf16> a(s.m, s.k, la, 3), b(s.k, s.n, lb, 4);
        const Poisoned<float, 2> packed({s.m, s.n}), plain({s.m, s.n});
        gemm(a.view, PackedMatrix<bf16>(b.view), packed.view());
        gemm(a.view, b.view, plain.view());
        INFO(s.m << " x " << s.n << " x " << s.k << ", A in " << name(la) << ", B in " << name(lb));
        CHECK(error_in_bounds<float>(packed.view(), a.values, b.values) <= 1);
        CHECK(error_in_bounds<float>(plain.view(), a.values, b.values) <= 1);
      }
}

TEST_CASE("bf16 products do without tiles where the system does not grant them", "[gemm_bf16]") {
  using Kernel = detail::PairKernel<DefaultArch>;
  for (const Size s : kSizes) {
    const Operand<bf16> a(s.m, s.k, Layout::rows, 5), b(s.k, s.n, Layout::columns, 6);
    const PackedMatrix<bf16> packed(b.view);
    const Poisoned<float, 2> got({s.m, s.n});
    detail::multiply_packed<Kernel, bf16>(a.view, packed.data(), got.view(), NoEpilogue{},
                                          Context{});
    INFO(s.m << " x " << s.n << " x " << s.k);
    CHECK(error_in_bounds<float>(got.view(), a.values, b.values) <= 1);
    CHECK(got.guards_intact());
  }
}

TEST_CASE("bf16 products pass NaN and infinity on", "[gemm_bf16]") {
  Tensor<float, 2> a({3, 40}), b({40, 5}), c({3, 5});
  for (Index k = 0; k < 40; ++k)
    for (Index n = 0; n < 5; ++n) b(k, n) = 1;
  a(0, 7) = std::numeric_limits<float>::quiet_NaN();
  a(1, 39) = std::numeric_limits<float>::infinity();
  gemm(a, PackedMatrix<bf16>(b), c);
  for (Index n = 0; n < 5; ++n) {
    CHECK(std::isnan(c(0, n)));
    CHECK(c(1, n) == std::numeric_limits<float>::infinity());
    CHECK(c(2, n) == 0.f);
  }
}
