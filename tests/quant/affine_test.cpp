#include "support/catch.hpp"
#include <weft/core/random.hpp>
#include <weft/quant/affine.hpp>

#include <limits>

using namespace weft;
using namespace weft::quant;

namespace {

Tensor<float, 2> numbers(Index rows, Index cols, float shift = 0) {
  Tensor<float, 2> x({rows, cols});
  Philox(7, 1).normal(x.span());
  for (float& v : x.span()) v += shift;
  return x;
}

}  // namespace

TEST_CASE("codes of an integer format") {
  CHECK(signed_codes(8) == CodeRange{-127, 127});
  CHECK(full_signed_codes(4) == CodeRange{-8, 7});
  CHECK(unsigned_codes(3) == CodeRange{0, 7});
  CHECK_THROWS_AS(signed_codes(1), weft::error);
  CHECK_THROWS_AS(unsigned_codes(17), weft::error);
}

TEST_CASE("rounding differs at halves only") {
  CHECK(round_half_even(2.5) == 2);
  CHECK(round_half_away(2.5) == 3);
  CHECK(round_half_up(2.5) == 3);
  CHECK(round_half_even(-2.5) == -2);
  CHECK(round_half_away(-2.5) == -3);
  CHECK(round_half_up(-2.5) == -2);
  // Just below a half, where adding a half would round up to 1.
  CHECK(round_half_up(0.49999997f) == 0);
}

TEST_CASE("the zero point is added after rounding") {
  const AffineGrid<float> grid{1.f, 1, unsigned_codes(8)};
  CHECK(grid.encode(0.5f) == 1);
  CHECK(grid.encode(1.5f) == 3);
}

TEST_CASE("an affine grid holds zero exactly") {
  const auto grid = affine_grid(2.f, 5.f, unsigned_codes(8));
  CHECK(grid.round_trip(0.f) == 0);
  CHECK(grid.decode(grid.encode(5.f)) == Approx(5).epsilon(1e-6));
  const auto shifted = affine_grid(-1.f, 3.f, full_signed_codes(8));
  CHECK(shifted.round_trip(0.f) == 0);
  CHECK(shifted.zero == affine_grid(-1.f, 3.f, unsigned_codes(8)).zero - 128);
}

TEST_CASE("no number is further from its code than half a step, and codes are kept") {
  const auto x = numbers(5, 67, 0.3f);
  for (const bool symmetric : {true, false})
    for (const Block block :
         {Block::tensor(), Block::row(), Block::column(), Block::group(16), Block{2, 5}}) {
      const Scheme scheme{symmetric ? signed_codes(6) : unsigned_codes(6), symmetric, block};
      const auto q = quantize<std::int8_t>(x, scheme);
      Tensor<float, 2> y({5, 67});
      dequantize(q, y);
      for (Index r = 0; r < 5; ++r)
        for (Index c = 0; c < 67; ++c) {
          const float step = q.grid(r, c).scale;
          CHECK(std::abs(x(r, c) - y(r, c)) <= 0.5f * step * (1 + 1e-5f) + (symmetric ? 0 : step));
          CHECK(q.grid(r, c).encode(y(r, c)) == q.codes(r, c));
        }
    }
}

TEST_CASE("symmetric codes change sign with the number") {
  auto x = numbers(3, 20);
  const auto q = quantize(x, {});
  for (float& v : x.span()) v = -v;
  const auto negative = quantize(x, {});
  for (Index i = 0; i < 60; ++i) CHECK(negative.codes.data()[i] == -q.codes.data()[i]);
}

TEST_CASE("a group wider than the matrix is a row") {
  const auto x = numbers(3, 20);
  const auto group = quantize(x, {signed_codes(8), true, Block::group(64)});
  const auto row = quantize(x, {signed_codes(8), true, Block::row()});
  CHECK(group.scale.extent(1) == 1);
  for (Index i = 0; i < 60; ++i) CHECK(group.codes.data()[i] == row.codes.data()[i]);
}

TEST_CASE("numbers that are all zero, and no numbers at all") {
  const Tensor<float, 2> zeros({2, 8});
  for (const bool symmetric : {true, false}) {
    const auto q = quantize<std::int16_t>(
        zeros, {symmetric ? signed_codes(8) : unsigned_codes(8), symmetric, Block::row()});
    CHECK(q.scale(0, 0) == 1);
    for (const auto code : q.codes.span()) CHECK(code == 0);
  }
  const auto nothing = quantize(Tensor<float, 2>({3, 0}), {});
  CHECK(nothing.scale.size() == 0);
  CHECK(quantize(Tensor<float, 2>({0, 3}), {}).codes.size() == 0);
}

TEST_CASE("each bit is worth 6 dB") {
  Tensor<float, 2> x({1, 20001});
  for (Index i = 0; i < 20001; ++i) x(0, i) = static_cast<float>(i - 10000) * 1e-4f;
  for (const int bits : {4, 6, 8}) {
    Tensor<float, 2> y({1, 20001});
    dequantize(quantize(x, {signed_codes(bits), true, Block::tensor()}), y);
    CHECK(sqnr_db<float, float>(x, y) == Approx(20 * std::log10((1 << bits) - 2)).margin(0.1));
  }
  CHECK(sqnr_db<float, float>(x, x) == std::numeric_limits<double>::infinity());
}

TEST_CASE("what cannot be quantized is refused") {
  auto x = numbers(2, 4);
  CHECK_THROWS_AS(quantize<std::int8_t>(x, {unsigned_codes(8), false, Block::row()}), weft::error);
  CHECK_THROWS_AS(quantize(x, {signed_codes(8), true, Block{-1, 0}}), weft::error);
  Tensor<float, 2> small({1, 4});
  CHECK_THROWS_AS(dequantize(quantize(x, {}), small), weft::error);
  x(1, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_AS(quantize(x, {}), weft::error);
  x(1, 2) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(quantize(x, {}), weft::error);
}
