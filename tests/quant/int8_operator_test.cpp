#include "reference/quantized_product.hpp"
#include "support/catch.hpp"
#include "support/threads.hpp"
#include <weft/core/activation.hpp>
#include <weft/core/random.hpp>
#include <weft/quant/int8_operator.hpp>
#include <weft/quant/llm_int8.hpp>

#include <limits>

using namespace weft;
using namespace weft::quant;

namespace {

struct Problem {
  Tensor<float, 2> x, w;
  Tensor<float, 1> bias;

  Problem(Index n, Index rows, Index cols) : x({n, cols}), w({rows, cols}), bias({rows}) {
    Philox random(21);
    random.normal(x.span());
    random.normal(w.span());
    random.normal(bias.span());
  }
};

reference::Row row(const Tensor<float, 2>& x, Index r) {
  return {&x(r, 0), &x(r, 0) + x.extent(1)};
}

/// y of a weight and x, by the reference, for outliers from `threshold` on.
void check(const Problem& p, const Tensor<float, 2>& y, double threshold = 0) {
  std::vector<bool> outlier(static_cast<std::size_t>(p.x.extent(1)), false);
  for (Index m = 0; m < y.extent(0); ++m)
    for (Index k = 0; k < p.x.extent(1); ++k)
      if (threshold > 0 && std::abs(p.x(m, k)) >= threshold)
        outlier[static_cast<std::size_t>(k)] = true;
  for (Index m = 0; m < y.extent(0); ++m)
    for (Index o = 0; o < y.extent(1); ++o) {
      const double product = reference::int8_product(row(p.x, m), row(p.w, o), outlier, threshold);
      const double margin = 2e-6 * (1 + std::abs(product));
      CHECK(double(y(m, o)) == Approx(product + double(p.bias(o))).margin(margin));
    }
}

}  // namespace

TEST_CASE("an int8 operator multiplies the codes of tokens and outputs", "[quant/int8_dynamic]") {
  for (const auto& [n, rows, cols] :
       {std::array<Index, 3>{1, 1, 1}, {1, 70, 67}, {5, 130, 129}, {33, 64, 256}, {40, 17, 5}}) {
    CAPTURE(n, rows, cols);
    const Problem p(n, rows, cols);
    const Int8Operator<> op(p.w, p.bias);
    Tensor<float, 2> y({n, rows});
    op.apply(p.x.view(), y.view());
    check(p, y);
  }
}

TEST_CASE("an int8 operator is within a few percent of the exact product") {
  const Problem p(20, 50, 400);
  const Int8Operator<> op(p.w);
  const DenseOperator<float> dense(p.w.view());
  Tensor<float, 2> y({20, 50}), exact({20, 50});
  op.apply(p.x.view(), y.view());
  dense.apply(p.x.view(), exact.view());
  CHECK(sqnr_db<float, float>(exact, y) > 35);
  CHECK(2 * op.bytes() < 4 * 50 * 400);
}

TEST_CASE("a row of an int8 operator does not depend on the rows beside it") {
  const Problem p(35, 90, 77);
  const Int8Operator<> op(p.w, p.bias);
  Tensor<float, 2> all({35, 90}), one({1, 90});
  op.apply(p.x.view(), all.view());
  for (const Index m : {0, 16, 34}) {
    op.apply(p.x.view().slice(0, m, 1), one.view());
    CHECK(std::equal(one.data(), one.data() + 90, &all(m, 0)));
  }
}

TEST_CASE("an int8 operator on a fixed grid clips, and keeps zero exact") {
  Problem p(4, 10, 33);
  for (Index k = 0; k < 33; ++k) p.x(1, k) = 0;
  Int8Operator<> op(p.w);
  const auto grid = affine_grid(-1.f, 2.f, unsigned_codes(8));
  op.fix_activations(grid);
  Tensor<float, 2> y({4, 10});
  op.apply(p.x.view(), y.view());
  const auto w = quantize(p.w, {});
  for (Index m = 0; m < 4; ++m)
    for (Index o = 0; o < 10; ++o) {
      double sum = 0;
      for (Index k = 0; k < 33; ++k) sum += double(grid.round_trip(p.x(m, k))) * double(w(o, k));
      CHECK(double(y(m, o)) == Approx(sum).margin(1e-4));
      if (m == 1) CHECK(y(m, o) == 0);
    }
  CHECK_THROWS_AS(op.fix_activations(symmetric_grid(1.f, signed_codes(8))), weft::error);
  CHECK_THROWS_AS(op.fix_activations({0.f, 0, unsigned_codes(8)}), weft::error);
}

TEST_CASE("tokens that are zero, and tokens that are not numbers") {
  Problem p(3, 20, 50);
  for (Index k = 0; k < 50; ++k) p.x(0, k) = 0;
  p.x(1, 7) = std::numeric_limits<float>::quiet_NaN();
  p.x(2, 9) = std::numeric_limits<float>::infinity();
  const Int8Operator<> op(p.w, p.bias);
  Tensor<float, 2> y({3, 20});
  op.apply(p.x.view(), y.view());
  for (Index o = 0; o < 20; ++o) {
    CHECK(y(0, o) == p.bias(o));
    CHECK(std::isnan(y(1, o)));
    CHECK(std::isnan(y(2, o)));
  }
}

TEST_CASE("an int8 operator takes epilogues, bf16 and any number of threads") {
  const Problem p(70, 90, 64);
  const Int8Operator<> op(p.w, p.bias);
  Tensor<float, 2> y({70, 90}), relu({70, 90});
  op.apply(p.x.view(), y.view());
  for (const int threads : {1, 2, 3}) {
    auto executor = fresh_threads(threads);
    op.apply(p.x.view(), relu.view(), Activate<Relu>{}, Context(executor));
    for (Index i = 0; i < y.size(); ++i) CHECK(relu.data()[i] == std::max(y.data()[i], 0.f));
  }
  Tensor<bf16, 2> rounded({70, 64});
  for (Index i = 0; i < rounded.size(); ++i) rounded.data()[i] = bf16(p.x.data()[i]);
  Tensor<float, 2> widened({70, 64}), from_rounded({70, 90});
  for (Index i = 0; i < widened.size(); ++i)
    widened.data()[i] = static_cast<float>(rounded.data()[i]);
  op.apply(widened.view(), y.view());
  op.apply(rounded.view(), from_rounded.view());
  CHECK(std::equal(y.data(), y.data() + y.size(), from_rounded.data()));
}

TEST_CASE("int8 operators refuse what does not fit") {
  Problem p(2, 3, 4);
  CHECK_THROWS_AS(Int8Operator<>(p.w, Tensor<float, 1>({4})), weft::error);
  CHECK_THROWS_AS(Int8Operator<>(quantize(p.w, {unsigned_codes(7), false, Block::row()})),
                  weft::error);
  CHECK_THROWS_AS(Int8Operator<>(quantize(p.w, {signed_codes(8), true, Block::group(2)})),
                  weft::error);
  const Int8Operator<> op(p.w);
  Tensor<float, 2> y({2, 3}), wide({2, 4});
  CHECK_THROWS_AS(op.apply(y.view(), y.view()), weft::error);
  CHECK_THROWS_AS(op.apply(p.x.view(), wide.view()), weft::error);
  Tensor<float, 2> twice({2, 8});
  const View<float, 2> strided(twice.data(), {2, 4}, {8, 2});
  CHECK_THROWS_AS(op.apply(strided, y.view()), weft::error);
  p.w(0, 0) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(Int8Operator<>(p.w), weft::error);
  CHECK_THROWS_AS(LlmInt8Operator<>(p.w.view(), {}, -1.f), weft::error);
}

TEST_CASE("outlier channels are multiplied exactly, and cost the others nothing",
          "[quant/llm_int8]") {
  Problem p(6, 20, 40);
  const LlmInt8Operator<> op(p.w, p.bias);
  Tensor<float, 2> before({6, 20}), after({6, 20}), plain({6, 20});
  op.apply(p.x.view(), before.view());
  Int8Operator<>(p.w, p.bias).apply(p.x.view(), plain.view());
  CHECK(op.outliers(p.x.view()).empty());
  CHECK(std::equal(plain.data(), plain.data() + plain.size(), before.data()));
  // Columns 3 and 17 become outliers of one token each.
  p.x(2, 3) = 700;
  p.x(5, 17) = -6;
  CHECK(op.outliers(p.x.view()) == std::vector<Index>{3, 17});
  op.apply(p.x.view(), after.view());
  check(p, after, 6);
  const LlmInt8Operator<> exact(p.w, p.bias, 6, OutlierWeights::exact);
  Tensor<float, 2> from_exact({6, 20}), reference({6, 20});
  exact.apply(p.x.view(), from_exact.view());
  DenseOperator<float>(p.w.view(), p.bias.view()).apply(p.x.view(), reference.view());
  Int8Operator<>(p.w, p.bias).apply(p.x.view(), plain.view());
  for (Index o = 0; o < 20; ++o) {
    // A step of the weight times the outlier is all that codes of the weight cost.
    CHECK(std::abs(after(2, o) - reference(2, o)) < 0.5f * 700 * 4 / 127 + 1);
    CHECK(std::abs(from_exact(2, o) - reference(2, o)) < 0.5f);
  }
  CHECK(sqnr_db<float, float>(reference, from_exact) > sqnr_db<float, float>(reference, plain) + 6);
  CHECK(exact.bytes() == op.bytes() + 4 * 20 * 40);
}

TEST_CASE("threshold 0 switches outliers off, and all channels may be outliers") {
  const Problem p(3, 7, 9);
  Tensor<float, 2> y({3, 7}), plain({3, 7}), exact({3, 7});
  LlmInt8Operator<>(p.w, {}, 0).apply(p.x.view(), y.view());
  Int8Operator<>(p.w).apply(p.x.view(), plain.view());
  CHECK(std::equal(plain.data(), plain.data() + 21, y.data()));
  LlmInt8Operator<>(p.w.view(), {}, 1e-9f, OutlierWeights::exact).apply(p.x.view(), y.view());
  DenseOperator<float>(p.w.view()).apply(p.x.view(), exact.view());
  for (Index i = 0; i < 21; ++i)
    CHECK(y.data()[i] == Approx(exact.data()[i]).margin(9 * 1.2e-7 * 10));
}
