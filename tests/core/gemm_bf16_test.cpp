#include "support/catch.hpp"
#include "support/products.hpp"
#include <weft/core/gemm.hpp>
#include <weft/core/thread_pool.hpp>

#include <bit>
#include <limits>

using namespace weft;

namespace {

struct Size {
  Index m, n, k;
};

/// Around the edges of AMX tiles (16, 32), of pairs and of blocks of 32 numbers.
const Size kSizes[] = {{1, 1, 1},    {1, 130, 65},  {2, 31, 2},     {15, 33, 31},  {16, 32, 32},
                       {17, 64, 33}, {33, 100, 63}, {49, 40, 2050}, {130, 70, 129}};

/// For floats by pairs: also passes of 1024 numbers and chunks of 112 rows.
const Size kWidenedSizes[] = {{1, 1, 1},     {1, 130, 65},  {1, 700, 128}, {2, 31, 2},
                              {6, 64, 33},   {7, 65, 511},  {15, 40, 0},   {29, 97, 513},
                              {3, 40, 1027}, {130, 70, 129}};

/// Results have equal bits, signs of zeros included.
bool same_bits(const View<float, 2>& x, const View<float, 2>& y) {
  for (Index r = 0; r < x.extent(0); ++r)
    for (Index c = 0; c < x.extent(1); ++c)
      if (std::bit_cast<std::uint32_t>(x(r, c)) != std::bit_cast<std::uint32_t>(y(r, c)))
        return false;
  return true;
}

}  // namespace

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
  Tensor<bf16, 2> a({3, 40}), b({40, 5});
  Tensor<float, 2> c({3, 5});
  for (Index k = 0; k < 40; ++k)
    for (Index n = 0; n < 5; ++n) b(k, n) = bf16(1.f);
  a(0, 7) = bf16(std::numeric_limits<float>::quiet_NaN());
  a(1, 39) = bf16(std::numeric_limits<float>::infinity());
  gemm(a, PackedMatrix<bf16>(b), c);
  for (Index n = 0; n < 5; ++n) {
    CHECK(std::isnan(c(0, n)));
    CHECK(c(1, n) == std::numeric_limits<float>::infinity());
    CHECK(c(2, n) == 0.f);
  }
}

TEMPLATE_TEST_CASE("floats times packed bf16 have the bits of the widened weights", "[gemm_bf16]",
                   float, fp16) {
  for (const Size s : kWidenedSizes)
    for (const Layout layout : {Layout::rows, Layout::columns, Layout::scattered}) {
      const Operand<TestType> a(s.m, s.k, layout, 1);
      const Operand<bf16> b(s.k, s.n, Layout::columns, 2);
      const Poisoned<float, 2> narrow({s.m, s.n}), wide({s.m, s.n});
      gemm(a.view, PackedMatrix<bf16>(b.view), narrow.view());
      gemm(a.view, PackedMatrix<float>(b.view), wide.view());
      INFO(s.m << " x " << s.n << " x " << s.k << ", A in " << name(layout));
      CHECK(same_bits(narrow.view(), wide.view()));
      CHECK(error_in_bounds<float>(narrow.view(), a.values, b.values) <= 1);
      CHECK(narrow.guards_intact());
    }
}

TEST_CASE("a row times packed bf16 does not depend on the rows beside it", "[gemm_bf16]") {
  const Operand<float> a(20, 1027, Layout::rows, 3);
  const Operand<bf16> b(1027, 200, Layout::rows, 4);
  const PackedMatrix<bf16> packed(b.view);
  const Poisoned<float, 2> together({20, 200}), alone({1, 200});
  ThreadPool pool(3);
  gemm(a.view, packed, together.view(), Context(pool));
  for (const Index m : {0, 7, 19}) {
    gemm(a.view.slice(0, m, 1), packed, alone.view());
    CHECK(same_bits(alone.view(), together.view().slice(0, m, 1)));
  }
}

TEST_CASE("widened products keep subnormal numbers, signed zeros and NaN", "[gemm_bf16]") {
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  for (const Index rows : {1, 2}) {
    Tensor<float, 2> a({rows, 3}), c({rows, 4});
    Tensor<bf16, 2> b({3, 4});
    for (Index r = 0; r < rows; ++r) a(r, 0) = 1;
    b(0, 0) = bf16(0x1p-130f);
    b(0, 2) = bf16(std::numeric_limits<float>::quiet_NaN());
    b(0, 3) = bf16(-std::numeric_limits<float>::infinity());
    gemm(a, PackedMatrix<bf16>(b), c);
    for (Index r = 0; r < rows; ++r) {
      CHECK(c(r, 0) == 0x1p-130f);
      CHECK(c(r, 1) == 0.f);
      CHECK(std::isnan(c(r, 2)));
      CHECK(c(r, 3) == -std::numeric_limits<float>::infinity());
    }
    // With fused multiply-adds, what underflows at the end of an odd depth is a negative zero; it
    // must not meet the zeros behind that end.
    for (Index r = 0; r < rows; ++r) a(r, 0) = 0, a(r, 2) = -kTiny;
    b(0, 2) = b(0, 3) = bf16(0.f);
    b(2, 1) = bf16(0.25f);
    gemm(a, PackedMatrix<bf16>(b), c);
    Tensor<float, 2> wide({rows, 4});
    gemm(a, PackedMatrix<float>(b), wide);
    CHECK(same_bits(c.view(), wide.view()));
  }
}
