#include "support/catch.hpp"
#include "support/threads.hpp"
#include <weft/core/activation.hpp>
#include <weft/core/random.hpp>
#include <weft/quant/float8_operator.hpp>

#include <limits>

using namespace weft;
using namespace weft::quant;

namespace {

Tensor<float, 2> normal(Index rows, Index cols, std::uint64_t seed) {
  Tensor<float, 2> x({rows, cols});
  Philox(seed).normal(x.span());
  return x;
}

/// The largest difference from products of single elements.
template <class Op>
double largest_difference(const Tensor<float, 2>& x, const Op& op, const Tensor<float, 2>& y) {
  double worst = 0;
  for (Index m = 0; m < y.extent(0); ++m)
    for (Index o = 0; o < y.extent(1); ++o) {
      double sum = 0;
      for (Index k = 0; k < x.extent(1); ++k) sum += double(x(m, k)) * double(op.weight()(o, k));
      worst = std::max(worst, std::abs(sum - double(y(m, o))));
    }
  return worst;
}

template <FloatFormat F>
void check_products() {
  for (const auto& [n, rows, cols] : {std::array<Index, 3>{1, 1, 1},
                                      {1, 70, 67},
                                      {2, 130, 129},
                                      {33, 64, 256},
                                      {40, 17, 5},
                                      {9, 65, 1100}}) {
    CAPTURE(n, rows, cols);
    const auto x = normal(n, cols, 1), w = normal(rows, cols, 2);
    const Float8Operator<F> op(w);
    Tensor<float, 2> y({n, rows});
    op.apply(x.view(), y.view());
    CHECK(largest_difference(x, op, y) < 1.2e-7 * static_cast<double>(cols + 16) * 10);
  }
}

}  // namespace

TEST_CASE("an 8-bit float operator multiplies the decoded weight") {
  check_products<kE4M3>();
  check_products<kE5M2>();
}

TEST_CASE("weights in 8-bit floats are as near as their mantissa allows") {
  auto w = normal(30, 50, 3);
  for (Index k = 0; k < 50; ++k) w(7, k) = 0;
  const Float8Weight<kE4M3> packed(w);
  CHECK(packed.bytes() < 2 * 64 * 52);
  for (Index o = 0; o < 30; ++o) {
    float largest = 0;
    for (Index k = 0; k < 50; ++k) largest = std::max(largest, std::abs(w(o, k)));
    for (Index k = 0; k < 50; ++k) {
      // Half a unit in the last place of 3 bits, or half the smallest subnormal number.
      const float step = std::max(std::abs(w(o, k)) / 16, largest / kE4M3.max() / 1024);
      CHECK(std::abs(packed(o, k) - w(o, k)) <= step * (1 + 1e-5f));
    }
  }
}

TEST_CASE("codes and scales that exist already") {
  Tensor<std::uint8_t, 2> codes({3, 8});
  Tensor<float, 1> scale({3});
  for (Index i = 0; i < 24; ++i) codes.data()[i] = static_cast<std::uint8_t>(i * 9);
  scale(0) = 0.5f, scale(1) = 2, scale(2) = -1;
  const Float8Weight<kE5M2> w(codes, scale);
  for (Index o = 0; o < 3; ++o)
    for (Index k = 0; k < 8; ++k) {
      CHECK(w.code(o, k) == codes(o, k));
      const float value = scale(o) * kE5M2.decode(codes(o, k));
      CHECK((w(o, k) == value || (std::isnan(w(o, k)) && std::isnan(value))));
    }
}

TEST_CASE("bf16 activations meet 8-bit floats exactly, but for their scale") {
  const auto x = normal(20, 100, 4), w = normal(70, 100, 5);
  Tensor<bf16, 2> rounded({20, 100});
  Tensor<float, 2> widened({20, 100}), y({20, 70}), expected({20, 70});
  for (Index i = 0; i < x.size(); ++i) {
    rounded.data()[i] = bf16(x.data()[i]);
    widened.data()[i] = static_cast<float>(rounded.data()[i]);
  }
  const Float8Operator<> op(w);
  op.apply(rounded.view(), y.view());
  CHECK(largest_difference(widened, op, y) < 1.2e-7 * 116 * 10);
}

TEST_CASE("an 8-bit float operator takes a bias, epilogues and threads") {
  const auto x = normal(30, 64, 6), w = normal(700, 64, 7);
  Tensor<float, 1> bias({700});
  Philox(8).normal(bias.span());
  const Float8Operator<> op(w, bias), plain(w);
  Tensor<float, 2> y({30, 700}), without({30, 700});
  plain.apply(x.view(), without.view());
  for (const int threads : {1, 2, 3}) {
    auto executor = fresh_threads(threads);
    op.apply(x.view(), y.view(), Activate<Relu>{}, Context(executor));
    for (Index m = 0; m < 30; ++m)
      for (Index o = 0; o < 700; ++o) CHECK(y(m, o) == std::max(without(m, o) + bias(o), 0.f));
  }
}

TEST_CASE("8-bit float weights refuse what is not finite and what does not fit") {
  auto w = normal(2, 4, 9);
  CHECK_THROWS_AS(Float8Operator<>(w, Tensor<float, 1>({3})), weft::error);
  CHECK_THROWS_AS((Float8Weight<kE4M3>(Tensor<std::uint8_t, 2>({2, 4}), Tensor<float, 1>({3}))),
                  weft::error);
  const Float8Operator<> op(w);
  Tensor<float, 2> y({2, 2});
  CHECK_THROWS_AS(op.apply(y.view(), y.view()), weft::error);
  w(1, 1) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(Float8Operator<>(w), weft::error);
}
