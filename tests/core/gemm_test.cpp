#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/products.hpp"
#include <weft/core/gemm.hpp>

#include <thread>
#include <tuple>

using namespace weft;

namespace {

struct Size {
  Index m, n, k;
};

/// Around every edge: register tiles (6, 14, 16, 32), tasks, depth blocks (256, 512), primes.
const Size kSizes[] = {{1, 1, 1},    {1, 33, 7},     {2, 3, 5},     {3, 64, 100}, {7, 31, 13},
                       {14, 32, 64}, {15, 33, 65},   {29, 97, 127}, {32, 70, 40}, {61, 17, 513},
                       {5, 300, 6},  {40, 40, 1030}, {131, 37, 11}};

template <class A, class B, class C>
struct Types {
  using a = A;
  using b = B;
  using c = C;
};
using Storages =
    std::tuple<Types<float, float, float>, Types<double, double, double>, Types<float, bf16, float>,
               Types<bf16, bf16, bf16>, Types<fp16, float, fp16>, Types<float, double, double>>;

constexpr Layout kLayouts[] = {Layout::rows, Layout::columns, Layout::padded_rows,
                               Layout::scattered};

}  // namespace

TEMPLATE_LIST_TEST_CASE("gemm agrees with the reference for every order in memory", "[gemm]",
                        Storages) {
  using C = typename TestType::c;
  using Sum = detail::ProductType<typename TestType::a, typename TestType::b>;
  const Context ctx;
  for (const Size s : kSizes)
    for (const Layout la : kLayouts)
      for (const Layout lb : kLayouts) {
        const Operand<typename TestType::a> a(s.m, s.k, la, 1);
        const Operand<typename TestType::b> b(s.k, s.n, lb, 2);
        const Poisoned<C, 2> c({s.m, s.n});
        gemm(a.view, b.view, c.view(), ctx);
        INFO(s.m << " x " << s.n << " x " << s.k << ", A in " << name(la) << ", B in " << name(lb));
        CHECK(error_in_bounds<Sum>(c.view(), a.values, b.values) <= 1);
        CHECK(c.guards_intact());
      }
}

TEMPLATE_TEST_CASE("C may have any strides", "[gemm]", float, double) {
  const Context ctx;
  for (const Size s : kSizes) {
    const Operand<TestType> a(s.m, s.k, Layout::rows, 3);
    const Operand<TestType> b(s.k, s.n, Layout::rows, 4);
    const Poisoned<TestType, 2> wide({s.m, s.n + 7}), transposed({s.n, s.m});
    const auto inner = wide.view().slice(1, 3, s.n);
    gemm(a.view, b.view, inner, ctx);
    gemm(a.view, b.view, transposed.view().transpose(0, 1), ctx);
    INFO(s.m << " x " << s.n << " x " << s.k);
    CHECK(error_in_bounds<TestType>(inner, a.values, b.values) <= 1);
    CHECK(error_in_bounds<TestType>(transposed.view().transpose(0, 1), a.values, b.values) <= 1);
    Index touched = 0;
    for (Index m = 0; m < s.m; ++m)
      for (Index n = 0; n < s.n + 7; ++n)
        touched += (n < 3 || n >= s.n + 3) && !std::isnan(wide.view()(m, n));
    CHECK(touched == 0);
    CHECK(wide.guards_intact());
    CHECK(transposed.guards_intact());
  }
}

TEST_CASE("a broadcast operand is a view of stride 0", "[gemm]") {
  const Operand<float> row(1, 50, Layout::rows, 5), b(50, 40, Layout::rows, 6);
  const Poisoned<float, 2> one({1, 40}), many({20, 40});
  gemm(row.view, b.view, one.view());
  gemm(row.view.broadcast({20, 50}), b.view, many.view());
  for (Index m = 0; m < 20; ++m)
    for (Index n = 0; n < 40; ++n) REQUIRE(many.view()(m, n) == Approx(one.view()(0, n)));
}

TEST_CASE("an empty depth stores the epilogue of zero", "[gemm]") {
  const Tensor<float, 2> a({3, 0}), b({0, 37});
  const auto bias = even_values<float, 1>({37}, 7);
  const Poisoned<float, 2> plain({3, 37}), biased({3, 37});
  gemm(a, b, plain.view());
  gemm(a, b, biased.view(), Bias{bias});
  for (Index m = 0; m < 3; ++m)
    for (Index n = 0; n < 37; ++n) {
      CHECK(plain.view()(m, n) == 0.f);
      CHECK(biased.view()(m, n) == bias(n));
    }
}

TEST_CASE("a product without rows or columns touches nothing", "[gemm]") {
  const Tensor<float, 2> none({0, 5}), b({5, 8}), a({4, 5}), narrow({5, 0});
  const Poisoned<float, 2> c({0, 8}), d({4, 0});
  gemm(none, b, c.view());
  gemm(a, narrow, d.view());
  CHECK(c.guards_intact());
  CHECK(d.guards_intact());
}

TEST_CASE("the result does not depend on the number of workers", "[gemm]") {
  auto spread = [](int n, auto body) {
    std::vector<std::thread> threads;
    for (int w = 0; w < n; ++w) threads.emplace_back([=] { body(w); });
    for (auto& t : threads) t.join();
  };
  for (const Size s : {Size{70, 600, 700}, Size{900, 40, 33}, Size{1, 5000, 300}}) {
    const Operand<float> a(s.m, s.k, Layout::rows, 8), b(s.k, s.n, Layout::columns, 9);
    const Poisoned<float, 2> alone({s.m, s.n});
    gemm(a.view, b.view, alone.view());
    for (const int workers : {2, 3}) {
      UserExecutor executor(workers, spread);
      const Context ctx(executor);
      const Poisoned<float, 2> together({s.m, s.n});
      gemm(a.view, b.view, together.view(), ctx);
      CHECK(doubles_of(together.view()) == doubles_of(alone.view()));
      CHECK(together.guards_intact());
    }
  }
}

TEST_CASE("gemm says what does not fit", "[gemm]") {
  Tensor<float, 2> a({3, 4}), b({5, 6}), c({3, 6}), wrong({3, 7});
  CHECK(contains(message_of([&] { gemm(a, b, c); }), "a has 4 columns, b has 5 rows"));
  Tensor<float, 2> fits({4, 6});
  CHECK(contains(message_of([&] { gemm(a, fits, wrong); }), "c is [3, 7], the product is [3, 6]"));
  const View<float, 2> nothing(nullptr, {3, 4});
  CHECK(contains(message_of([&] { gemm(nothing, fits, c); }), "a is [3, 4] but has no data"));
  CHECK(contains(message_of([&] { gemm(a, View<float, 2>(nullptr, {4, 6}), c); }), "b is [4, 6]"));
  CHECK(contains(message_of([&] { gemm(a, fits, View<float, 2>(nullptr, {3, 6})); }), "c is"));
  CHECK(contains(message_of([&] { gemm(a, PackedMatrix<float>(b), c); }), "b has 5 rows"));
}
