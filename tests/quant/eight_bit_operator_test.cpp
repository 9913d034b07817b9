#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include "support/values.hpp"
#include <weft/core/activation.hpp>
#include <weft/io/safetensors.hpp>
#include <weft/quant/import.hpp>

#include <limits>

using namespace weft;
using namespace weft::quant;

namespace {

Tensor<float, 2> values(Index rows, Index cols, std::uint64_t seed) {
  return even_values<float, 2>({rows, cols}, seed);
}

constexpr Scheme affine(Index group) { return {unsigned_codes(8), false, Block::group(group)}; }

/// The largest difference of y from products with single elements of the weight, over the sum of
/// their magnitudes.
double error_of(const Tensor<float, 2>& x, const EightBitWeight<>& w, const Tensor<float, 2>& y) {
  double worst = 0;
  for (Index m = 0; m < y.extent(0); ++m)
    for (Index o = 0; o < y.extent(1); ++o) {
      double sum = 0, size = 0;
      for (Index k = 0; k < w.cols(); ++k) {
        const double term = double{x(m, k)} * double{w(o, k)};
        sum += term;
        size += std::abs(term);
      }
      worst = std::max(worst, std::abs(sum - double{y(m, o)}) / size);
    }
  return worst;
}

}  // namespace

TEST_CASE("elements of an 8-bit weight are the codes on their grids", "[quant]") {
  const auto w = values(70, 37, 1);
  const auto q = quantize<std::uint8_t>(w, affine(5));
  const EightBitWeight<> packed(q);
  CHECK(packed.has_offset());
  CHECK(packed.group() == 5);
  const auto s = quantize<std::int8_t>(w, {signed_codes(8), true, Block::group(8)});
  const EightBitWeight<> symmetric(s);
  CHECK_FALSE(symmetric.has_offset());
  for (Index o = 0; o < 70; ++o)
    for (Index k = 0; k < 37; ++k) {
      // Two terms of at most 128 steps, rounded to float.
      CHECK(std::abs(packed(o, k) - q(o, k)) <= q.grid(o, k).scale * 0x1p-15f);
      CHECK(symmetric(o, k) == s(o, k));
    }
}

TEST_CASE("an 8-bit operator multiplies the decoded weight", "[quant]") {
  struct Shape {
    Index n, rows, cols, group;
  };
  for (const auto& s : {Shape{1, 1, 1, 4},
                        {1, 70, 96, 32},
                        {2, 130, 67, 3},
                        {5, 7, 32, 0},
                        {33, 100, 130, 8},
                        {40, 65, 5, 1},
                        {19, 64, 1100, 128}}) {
    CAPTURE(s.n, s.rows, s.cols, s.group);
    const auto x = values(s.n, s.cols, 3), w = values(s.rows, s.cols, 4);
    Tensor<float, 2> y({s.n, s.rows});
    const EightBitOperator<> by_offset(
        EightBitWeight<>(quantize<std::uint8_t>(w, affine(s.group))));
    by_offset.apply(x.view(), y.view());
    // Offsets are as large as weights, and cancel half the codes.
    CHECK(error_of(x, by_offset.weight(), y) < 1e-5);
    const Scheme plain{full_signed_codes(8), true, Block::group(s.group)};
    const EightBitOperator<> op(EightBitWeight<>(quantize<std::int8_t>(w, plain)));
    op.apply(x.view(), y.view());
    CHECK(error_of(x, op.weight(), y) < 2e-6);
  }
}

TEST_CASE("bf16 activations meet 8-bit integers rounded to bf16", "[quant]") {
  auto x = values(21, 200, 9);
  Tensor<bf16, 2> rounded({21, 200});
  Tensor<float, 2> y({21, 70});
  for (Index i = 0; i < x.size(); ++i) {
    rounded.data()[i] = bf16(x.data()[i]);
    x.data()[i] = static_cast<float>(rounded.data()[i]);
  }
  const EightBitOperator<> op(
      EightBitWeight<>(quantize<std::uint8_t>(values(70, 200, 8), affine(40))));
  op.apply(rounded.view(), y.view());
  CHECK(error_of(x, op.weight(), y) < 0x1p-9);
}

TEST_CASE("an 8-bit operator takes a bias, an epilogue, an order and threads", "[quant]") {
  const auto x = values(30, 40, 11), w = values(700, 40, 12);
  const auto bias = even_values<float, 1>({700}, 13);
  Tensor<std::int32_t, 1> order({40});
  Tensor<float, 2> sorted({30, 40});
  for (Index k = 0; k < 40; ++k) {
    order(k) = static_cast<std::int32_t>((k * 7 + 3) % 40);
    for (Index m = 0; m < 30; ++m) sorted(m, k) = x(m, order(k));
  }
  const auto weight = [&] { return EightBitWeight<>(quantize<std::uint8_t>(w, affine(8))); };
  const EightBitOperator<> plain(weight()), op(weight(), bias, order);
  Tensor<float, 2> y({30, 700}), without({30, 700});
  plain.apply(sorted.view(), without.view());
  for (const int threads : {1, 2, 3}) {
    auto executor = fresh_threads(threads);
    op.apply(x.view(), y.view(), Activate<Relu>{}, Context(executor));
    bool same = true;
    for (Index m = 0; m < 30; ++m)
      for (Index o = 0; o < 700; ++o)
        same = same && y(m, o) == std::max(without(m, o) + bias(o), 0.f);
    CHECK(same);
  }
}

TEST_CASE("blocks of Q8_0 become 8-bit weights exactly", "[quant]") {
  std::vector<Q8_0> blocks(70 * 3);
  encode_blocks<Q8_0>(values(70, 96, 14).span(), blocks);
  Tensor<float, 2> decoded({70, 96});
  decode_blocks<Q8_0>(blocks, decoded.span());
  const EightBitOperator<> op(eight_bit_weight(std::span<const Q8_0>(blocks), 70, 96));
  CHECK_FALSE(op.weight().has_offset());
  bool same = true;
  for (Index o = 0; o < 70; ++o)
    for (Index k = 0; k < 96; ++k) same = same && op.weight()(o, k) == decoded(o, k);
  CHECK(same);
  const auto x = values(5, 96, 15);
  Tensor<float, 2> y({5, 70}), one({1, 70});
  op.apply(x.view(), y.view());
  CHECK(error_of(x, op.weight(), y) < 2e-6);
  CHECK(contains(message_of([&] { eight_bit_weight(std::span<const Q8_0>(blocks), 69, 96); }),
                 "210 blocks of 32"));
  CHECK(contains(message_of([&] { eight_bit_weight(std::span<const Q8_0>(blocks), 70, 90); }),
                 "no whole number"));
}

TEST_CASE("GPTQ layers of 8 bits become operators", "[quant]") {
  const SafetensorsFile file(WEFT_TEST_DATA "/quant/gptq_pack.safetensors");
  for (const std::string name : {"case0", "case3"}) {
    const auto params = file.read<std::int32_t, 1>(name + ".params");
    const auto qweight = file.read<std::int32_t, 2>(name + ".qweight");
    const auto qzeros = file.read<std::int32_t, 2>(name + ".qzeros");
    const auto scales = file.read<float, 2>(name + ".scales");
    const auto g_idx = file.read<std::int32_t, 1>(name + ".g_idx");
    const auto layer = unpack_gptq({qweight, qzeros, scales, g_idx, static_cast<int>(params(0))});
    const auto op = eight_bit_operator(layer);
    const auto x = file.read<float, 2>(name + ".x");
    const auto y = file.read<double, 2>(name + ".y");
    Tensor<float, 2> got({x.extent(0), y.extent(1)});
    op.apply(x.view(), got.view());
    CHECK(largest_error(doubles_of(got.view()), doubles_of(y.view())) < 2e-6);
    op.apply(x.view().slice(0, 1, 1), got.view().slice(0, 1, 1));
    CHECK(largest_error(doubles_of(got.view()), doubles_of(y.view())) < 2e-6);
  }
}

TEST_CASE("8-bit weights and operators refuse what does not fit", "[quant]") {
  const auto w = values(4, 8, 18);
  const auto weight = [&] { return EightBitWeight<>(quantize(w, Scheme{})); };
  CHECK_THROWS_AS(EightBitWeight<>(quantize<std::uint8_t>(w, {unsigned_codes(8), false, {2, 4}})),
                  weft::error);
  CHECK_THROWS_AS(
      EightBitWeight<>(quantize<std::int16_t>(w, {signed_codes(9), true, Block::row()})),
      weft::error);
  auto q = quantize(w, Scheme{});
  q.scale(1, 0) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { EightBitWeight<>{q}; }), "scale inf of (1, 0)"));
  CHECK_THROWS_AS(EightBitOperator<>(weight(), Tensor<float, 1>({3})), weft::error);
  CHECK_THROWS_AS(EightBitOperator<>(weight(), {}, Tensor<std::int32_t, 1>({7})), weft::error);
  CHECK_THROWS_AS(EightBitOperator<>(weight(), {}, Tensor<std::int32_t, 1>({8})), weft::error);
  const EightBitOperator<> op(weight());
  Tensor<float, 2> y({2, 4});
  CHECK_THROWS_AS(op.apply(y.view(), y.view()), weft::error);
}
