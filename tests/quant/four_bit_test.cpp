#include "reference/quantized_product.hpp"
#include "support/catch.hpp"
#include "support/threads.hpp"
#include <weft/core/activation.hpp>
#include <weft/core/random.hpp>
#include <weft/quant/four_bit_operator.hpp>

#include <limits>

using namespace weft;
using namespace weft::quant;

namespace {

Tensor<float, 2> normal(Index rows, Index cols, std::uint64_t seed) {
  Tensor<float, 2> x({rows, cols});
  Philox(seed).normal(x.span());
  return x;
}

constexpr Scheme affine(Index group) { return {unsigned_codes(4), false, Block::group(group)}; }
constexpr Scheme symmetric(Index group) {
  return {full_signed_codes(4), true, Block::group(group)};
}

template <class Code>
FourBitWeight<> weight(const Tensor<float, 2>& w, const Scheme& scheme) {
  return FourBitWeight<>(quantize<Code>(w, scheme));
}

/// sum_k x W, by single elements.
double product(const Tensor<float, 2>& x, const FourBitWeight<>& w, Index m, Index o) {
  reference::Row weights;
  for (Index k = 0; k < w.cols(); ++k) weights.push_back(w(o, k));
  return reference::dot({&x(m, 0), &x(m, 0) + w.cols()}, weights);
}

/// The largest difference from single elements, relative to the root mean square of the result.
double error_of(const Tensor<float, 2>& x, const FourBitWeight<>& w, const Tensor<float, 2>& y) {
  double worst = 0, squares = 0;
  for (Index m = 0; m < y.extent(0); ++m)
    for (Index o = 0; o < y.extent(1); ++o) {
      const double exact = product(x, w, m, o);
      worst = std::max(worst, std::abs(exact - double(y(m, o))));
      squares += exact * exact;
    }
  return worst / std::sqrt(squares / static_cast<double>(y.size()));
}

struct Shape {
  Index n, rows, cols, group;
};
constexpr Shape kShapes[] = {{1, 1, 1, 4},      {1, 70, 96, 32}, {2, 130, 67, 16},   {5, 7, 32, 32},
                             {33, 100, 130, 8}, {40, 65, 5, 4},  {19, 64, 1100, 128}};

}  // namespace

TEST_CASE("elements of a 4-bit weight are the codes on their grids") {
  const auto w = normal(70, 37, 1);
  const auto q = quantize<std::uint8_t>(w, affine(8));
  const FourBitWeight<> packed(q);
  CHECK(packed.has_offset());
  for (Index o = 0; o < 70; ++o)
    for (Index k = 0; k < 37; ++k) {
      // The grid is rounded to fp16: 2^-11 of each of two terms of up to 15 steps.
      const double step = q.grid(o, k).scale;
      CHECK(std::abs(packed(o, k) - q(o, k)) <= 2 * 15 * step / 2048);
    }
  const FourBitWeight<> plain(quantize<std::int8_t>(w, symmetric(8)));
  CHECK_FALSE(plain.has_offset());
  CHECK(plain.is_integer());
}

TEST_CASE("groups of 32 take 4.5 bits, with offsets 5") {
  const auto w = normal(128, 512, 2);
  CHECK(8 * weight<std::int8_t>(w, symmetric(32)).bytes() == 128 * 512 * 9 / 2);
  CHECK(8 * weight<std::uint8_t>(w, affine(32)).bytes() == 128 * 512 * 5);
}

TEST_CASE("a 4-bit operator multiplies the decoded weight", "[quant/int4_exact]") {
  for (const auto& s : kShapes) {
    CAPTURE(s.n, s.rows, s.cols, s.group);
    const auto x = normal(s.n, s.cols, 3), w = normal(s.rows, s.cols, 4);
    Tensor<float, 2> y({s.n, s.rows});
    const double eps = 1.2e-7 * static_cast<double>(s.cols + 16);
    FourBitOperator<> by_offset(weight<std::uint8_t>(w, affine(s.group)));
    by_offset.apply(x.view(), y.view());
    CHECK(error_of(x, by_offset.weight(), y) < 8 * eps);
    FourBitOperator<> plain(weight<std::int8_t>(w, symmetric(s.group)));
    plain.apply(x.view(), y.view());
    CHECK(error_of(x, plain.weight(), y) < 8 * eps);
  }
}

TEST_CASE("a 4-bit operator multiplies codes of tokens exactly within groups",
          "[quant/int4_int8]") {
  for (const auto& s : kShapes) {
    CAPTURE(s.n, s.rows, s.cols, s.group);
    auto x = normal(s.n, s.cols, 5);
    dequantize(quantize(x, {}), x);  // then the codes of x are exact
    const auto w = normal(s.rows, s.cols, 6);
    Tensor<float, 2> y({s.n, s.rows});
    const double eps = 1.2e-7 * static_cast<double>(s.cols / s.group + 16);
    FourBitOperator<> by_offset(weight<std::uint8_t>(w, affine(s.group)), {}, Inputs::int8);
    by_offset.apply(x.view(), y.view());
    CHECK(error_of(x, by_offset.weight(), y) < 32 * eps);
    FourBitOperator<> plain(weight<std::int8_t>(w, symmetric(s.group)), {}, Inputs::int8);
    plain.apply(x.view(), y.view());
    CHECK(error_of(x, plain.weight(), y) < 32 * eps);
  }
}

TEST_CASE("tables that are no integers") {
  const FourBitTable table{-1.f, -.7f, -.5f, -.4f, -.3f, -.2f, -.1f, 0.f,
                           .08f, .16f, .25f, .34f, .44f, .56f, .72f, 1.f};
  Tensor<std::uint8_t, 2> codes({9, 48});
  Philox random(7);
  for (auto& c : codes.span()) c = static_cast<std::uint8_t>(random() % 16);
  Tensor<float, 2> scale({9, 3});
  random.uniform(scale.span());
  const auto x = normal(3, 48, 8);
  Tensor<float, 2> y({3, 9}), one({1, 9});
  FourBitOperator<> op(FourBitWeight<>(codes, 16, scale, {}, table));
  CHECK_FALSE(op.weight().is_integer());
  for (Index k = 0; k < 48; ++k)
    CHECK(op.weight()(4, k) == table[codes(4, k)] * static_cast<float>(fp16(scale(4, k / 16))));
  op.apply(x.view(), y.view());
  CHECK(error_of(x, op.weight(), y) < 1e-5);
  op.apply(x.view().slice(0, 2, 1), one.view());
  for (Index o = 0; o < 9; ++o) CHECK(one(0, o) == Approx(y(2, o)).margin(1e-5));
}

TEST_CASE("bf16 activations meet the weight rounded to bf16") {
  const auto x = normal(21, 200, 9), w = normal(70, 200, 10);
  Tensor<bf16, 2> rounded({21, 200});
  Tensor<float, 2> widened({21, 200}), y({21, 70});
  for (Index i = 0; i < x.size(); ++i) {
    rounded.data()[i] = bf16(x.data()[i]);
    widened.data()[i] = static_cast<float>(rounded.data()[i]);
  }
  FourBitOperator<> op(weight<std::uint8_t>(w, affine(40)));
  op.apply(rounded.view(), y.view());
  CHECK(error_of(widened, op.weight(), y) < 0.02);  // 2^-9 of every product, as they add up
  op.apply(rounded.view().slice(0, 3, 1), y.view().slice(0, 3, 1));
  CHECK(error_of(widened, op.weight(), y) < 0.02);
}

TEST_CASE("a 4-bit operator with a bias, an epilogue and columns in another order") {
  const auto x = normal(8, 40, 11), w = normal(20, 40, 12);
  Tensor<float, 1> bias({20});
  Philox(13).normal(bias.span());
  Tensor<std::int32_t, 1> order({40});
  Tensor<float, 2> sorted({20, 40});
  for (Index k = 0; k < 40; ++k) {
    order(k) = static_cast<std::int32_t>((k * 7 + 3) % 40);
    for (Index o = 0; o < 20; ++o) sorted(o, k) = w(o, order(k));
  }
  Tensor<float, 2> y({8, 20});
  FourBitOperator<> op(weight<std::uint8_t>(sorted, affine(8)), bias, Inputs::exact, order);
  op.apply(x.view(), y.view(), Activate<Relu>{});
  for (Index m = 0; m < 8; ++m)
    for (Index o = 0; o < 20; ++o) {
      double sum = bias(o);
      for (Index k = 0; k < 40; ++k) sum += double(x(m, order(k))) * double(op.weight()(o, k));
      CHECK(y(m, o) == Approx(std::max(sum, 0.)).margin(1e-5));
    }
}

TEST_CASE("4-bit operators do not depend on the number of threads") {
  const auto x = normal(30, 256, 14), w = normal(700, 256, 15);
  for (const auto inputs : {Inputs::exact, Inputs::int8}) {
    FourBitOperator<> op(weight<std::uint8_t>(w, affine(32)), {}, inputs);
    Tensor<float, 2> expected({30, 700}), y({30, 700});
    op.apply(x.view(), expected.view());
    for (const int threads : {2, 3}) {
      auto executor = fresh_threads(threads);
      op.apply(x.view(), y.view(), Context(executor));
      CHECK(std::equal(y.data(), y.data() + y.size(), expected.data()));
    }
  }
}

TEST_CASE("no rows of x, and tokens that are not numbers") {
  const auto w = normal(20, 32, 16);
  const FourBitOperator<> exact(weight<std::int8_t>(w, symmetric(32)));
  const FourBitOperator<> int8(weight<std::int8_t>(w, symmetric(32)), {}, Inputs::int8);
  Tensor<float, 2> none({0, 32}), no_y({0, 20});
  exact.apply(none.view(), no_y.view());
  auto x = normal(2, 32, 17);
  x(1, 5) = std::numeric_limits<float>::quiet_NaN();
  Tensor<float, 2> y({2, 20});
  for (const auto* op : {&exact, &int8}) {
    op->apply(x.view(), y.view());
    for (Index o = 0; o < 20; ++o) {
      CHECK(std::isfinite(y(0, o)));
      CHECK(std::isnan(y(1, o)));
    }
  }
}

TEST_CASE("4-bit weights and operators refuse what does not fit") {
  Tensor<std::uint8_t, 2> codes({2, 8});
  Tensor<float, 2> scale({2, 2}), wrong({2, 3});
  CHECK_THROWS_AS(FourBitWeight<>(codes, 4, wrong), weft::error);
  CHECK_THROWS_AS(FourBitWeight<>(codes, 3, wrong), weft::error);
  CHECK_THROWS_AS(FourBitWeight<>(codes, 4, scale, wrong), weft::error);
  scale(1, 1) = 1e6f;
  CHECK_THROWS_AS(FourBitWeight<>(codes, 4, scale), weft::error);
  scale(1, 1) = 1;
  codes(1, 3) = 16;
  CHECK_THROWS_AS(FourBitWeight<>(codes, 4, scale), weft::error);
  codes(1, 3) = 15;
  const auto w = normal(2, 8, 18);
  CHECK_THROWS_AS(FourBitWeight<>(quantize(w, {signed_codes(8), true, Block::row()})), weft::error);
  CHECK_THROWS_AS(FourBitWeight<>(quantize<std::uint8_t>(w, {unsigned_codes(4), false, {2, 4}})),
                  weft::error);
  const auto make = [&] { return FourBitWeight<>(codes, 4, scale); };
  CHECK_THROWS_AS(FourBitOperator<>(make(), Tensor<float, 1>({3})), weft::error);
  FourBitTable halves = integer_table(0);
  halves[3] = 2.5f;
  CHECK_THROWS_AS(FourBitOperator<>(FourBitWeight<>(codes, 4, scale, {}, halves), {}, Inputs::int8),
                  weft::error);
  Tensor<std::int32_t, 1> twice({8});
  CHECK_THROWS_AS(FourBitOperator<>(make(), {}, Inputs::exact, twice), weft::error);
  const FourBitOperator<> op(make());
  Tensor<float, 2> y({2, 2}), x({2, 8});
  CHECK_THROWS_AS(op.apply(y.view(), y.view()), weft::error);
  CHECK_THROWS_AS(op.apply(x.view(), x.view()), weft::error);
}
