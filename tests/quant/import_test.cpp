#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/io/safetensors.hpp>
#include <weft/quant/import.hpp>

#include <limits>

using namespace weft;
using namespace weft::quant;

namespace {

constexpr float kHalfRounding = 1.f / 2048;  // of fp16, relative

SafetensorsFile golden(const char* name) {
  return SafetensorsFile(std::string(WEFT_TEST_DATA "/quant/") + name + ".safetensors");
}

/// The largest difference between elements, each over `unit` of its row and column.
template <class Weight, class Unit>
double largest_difference(const Weight& w, const Tensor<float, 2>& expected, Unit unit) {
  if (w.rows() != expected.extent(0) || w.cols() != expected.extent(1)) return 1e30;
  double worst = 0;
  for (Index o = 0; o < w.rows(); ++o)
    for (Index k = 0; k < w.cols(); ++k) {
      const double d = std::abs(double{w(o, k)} - double{expected(o, k)});
      if (d != 0) worst = std::max(worst, d / double{unit(o, k)});
    }
  return worst;
}

bool equal(const FourBitWeight<>& w, const Tensor<float, 2>& expected) {
  return largest_difference(w, expected, [](Index, Index) { return 1e-30f; }) == 0;
}

/// Within the rounding of scales to fp16: no offsets, so a share of each element.
bool near(const FourBitWeight<>& w, const Tensor<float, 2>& expected) {
  const auto unit = [&](Index o, Index k) { return std::abs(expected(o, k)); };
  return largest_difference(w, expected, unit) <= kHalfRounding;
}

/// The error of op on n rows beside products with single elements of the weight `w`, relative to
/// the sum of magnitudes. x is on the grids of 8-bit tokens.
template <class Op>
double error_of(const Op& op, const Tensor<float, 2>& w, Index n) {
  auto x = even_values<float, 2>({n, w.extent(1)}, 5);
  dequantize(quantize(x, {}), x);
  Tensor<float, 2> y({n, w.extent(0)});
  op.apply(x.view(), y.view());
  double worst = 0;
  for (Index m = 0; m < n; ++m)
    for (Index o = 0; o < w.extent(0); ++o) {
      double sum = 0, size = 0;
      for (Index k = 0; k < w.extent(1); ++k) {
        const double term = double{x(m, k)} * double{w(o, k)};
        sum += term;
        size += std::abs(term);
      }
      worst = std::max(worst, std::abs(sum - double{y(m, o)}) / size);
    }
  return worst;
}

Tensor<float, 2> elements(const FourBitWeight<>& w) {
  Tensor<float, 2> out({w.rows(), w.cols()});
  for (Index o = 0; o < w.rows(); ++o)
    for (Index k = 0; k < w.cols(); ++k) out(o, k) = w(o, k);
  return out;
}

/// Operators of the weight multiply as both kinds of inputs ask for.
template <class Make>
void check_runs(Make make_weight) {
  for (const Inputs inputs : {Inputs::exact, Inputs::int8}) {
    if (inputs == Inputs::int8 && !make_weight().is_integer()) continue;
    const FourBitOperator<> op(make_weight(), {}, inputs);
    const auto expected = elements(op.weight());
    // The sum of a hundred terms or so in floats; offsets and codes of the same sign cancel.
    for (const Index n : {Index{1}, Index{5}}) CHECK(error_of(op, expected, n) < 2e-5);
  }
}

template <GgmlBlock B>
struct Encoded {
  std::vector<B> blocks;
  Tensor<float, 2> decoded;

  Encoded(Index rows, Index cols)
      : blocks(static_cast<std::size_t>(rows * cols / B::kValues)), decoded({rows, cols}) {
    const auto x = even_values<float, 2>({rows, cols}, 1, -.3, .7);
    encode_blocks<B>(x.span(), blocks);
    decode_blocks<B>(blocks, decoded.span());
  }
};

template <GgmlBlock B>
void check_ggml(bool has_offset) {
  const Index cols = 3 * B::kValues;
  const Encoded<B> from(70, cols);
  const auto make = [&] { return four_bit_weight<B>(from.blocks, 70, cols); };
  const auto w = make();
  CHECK(w.has_offset() == has_offset);
  CHECK(equal(w, from.decoded));
  check_runs(make);
  const auto fewer = std::span<const B>(from.blocks).first(from.blocks.size() - 1);
  CHECK(contains(message_of([&] { four_bit_weight(fewer, 70, cols); }), "blocks of"));
  CHECK(contains(message_of([&] { four_bit_weight<B>(from.blocks, 70, cols + 4); }),
                 "no whole number"));
}

Tensor<std::int32_t, 1> reversed_groups(Index cols, Index group) {
  Tensor<std::int32_t, 1> group_of({cols});
  const Index groups = ceil_div(cols, group);
  for (Index k = 0; k < cols; ++k) group_of(k) = static_cast<std::int32_t>(groups - 1 - k % groups);
  return group_of;
}

}  // namespace

TEST_CASE("blocks of Q4_0, Q4_1, TQ2_0 and MXFP4 become 4-bit weights exactly", "[quant]") {
  check_ggml<Q4_0>(false);
  check_ggml<Q4_1>(true);
  check_ggml<Tq2_0>(false);
  check_ggml<Mxfp4>(false);
}

TEST_CASE("scales and minima of Q4_K are rounded to fp16", "[quant]") {
  const auto bytes = golden("ggml_blocks").read<std::int32_t, 2>("q4_K.bytes");
  const auto expected = golden("ggml_blocks").read<float, 2>("q4_K.dq");
  std::vector<std::uint8_t> file(bytes.data(), bytes.data() + bytes.size());
  const auto blocks = blocks_in<Q4_K>(file);
  const auto make = [&] { return four_bit_weight(blocks, expected.extent(0), 256); };
  const auto w = make();
  const auto unit = [&](Index o, Index k) {
    const Q4_K& block = blocks[static_cast<std::size_t>(o)];
    const auto [scale, min] = block.scale_and_min(static_cast<int>(k / 32));
    return 15 * static_cast<float>(block.d) * static_cast<float>(scale) +
           static_cast<float>(block.dmin) * static_cast<float>(min);
  };
  CHECK(largest_difference(w, expected, unit) <= kHalfRounding);
  check_runs(make);
}

TEST_CASE("matrices of MXFP4 become 4-bit weights exactly", "[quant]") {
  auto x = even_values<float, 2>({70, 75}, 2);
  for (Index k = 0; k < 32; ++k) {
    x(3, k) = 0;          // a scale of 2^-127, which stands for nothing
    x(4, k) *= 0x1p-25f;  // scales below those of fp16
    x(5, k + 32) *= 3000;
  }
  const MxMatrix q = quantize_mx(x, kE2M1);
  Tensor<float, 2> decoded({70, 75});
  dequantize(q, decoded);
  const auto make = [&] { return four_bit_weight(q); };
  const auto w = make();
  CHECK(equal(w, decoded));
  check_runs(make);
}

TEST_CASE("MXFP4 is refused where fp16 cannot hold its scales", "[quant]") {
  auto x = even_values<float, 2>({2, 64}, 3);
  CHECK(contains(message_of([&] { four_bit_weight(quantize_mx(x, kE4M3)); }), "wanted MXFP4"));
  for (Index k = 0; k < 32; ++k) x(1, k) *= 0x1p-44f;
  CHECK(contains(message_of([&] { four_bit_weight(quantize_mx(x, kE2M1)); }), "2^38"));
  x(1, 3) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { four_bit_weight(quantize_mx(x, kE2M1)); }), "no number"));
  std::vector<Mxfp4> blocks(1);
  blocks[0].e = 255;
  CHECK(contains(message_of([&] { four_bit_weight<Mxfp4>(blocks, 1, 32); }), "no number"));
}

TEST_CASE("blocks of NF4 and FP4 may begin within rows", "[quant]") {
  struct Sizes {
    Index rows, cols, block;
  };
  for (const Book16 book : {Book16::nf4, Book16::fp4})
    // Blocks within rows, rows within blocks, both across each other.
    for (const auto& s : {Sizes{70, 128, 64}, {70, 32, 64}, {35, 96, 64}, {10, 10, 320}}) {
      CAPTURE(s.rows, s.cols, s.block);
      const auto x = even_values<float, 2>({s.rows, s.cols}, 4);
      const auto blocks = quantize_book16(x.span(), book, s.block);
      Tensor<float, 2> decoded({s.rows, s.cols});
      dequantize(blocks, decoded.span());
      const auto make = [&] { return four_bit_weight(blocks, s.rows, s.cols); };
      CHECK(near(make(), decoded));
      check_runs(make);
    }
}

TEST_CASE("small and large blocks of NF4 keep their accuracy", "[quant]") {
  auto x = even_values<float, 2>({8, 64}, 4);
  for (Index k = 0; k < 64; ++k) {
    x(2, k) *= 1e-6f;
    x(3, k) *= 70000;
    x(4, k) = 0;
  }
  const auto blocks = quantize_book16(x.span(), Book16::nf4, 64);
  Tensor<float, 2> decoded({8, 64});
  dequantize(blocks, decoded.span());
  const auto unit = [&](Index o, Index k) {
    return std::max(std::abs(decoded(o, k)), 70000 * 0x1p-28f);
  };
  CHECK(largest_difference(four_bit_weight(blocks, 8, 64), decoded, unit) <= kHalfRounding);
}

TEST_CASE("blocks of NF4 that fit no groups are refused", "[quant]") {
  const auto x = even_values<float, 2>({6, 10}, 4);
  const auto blocks = quantize_book16(x.span(), Book16::nf4, 12);
  CHECK(contains(message_of([&] { four_bit_weight(blocks, 6, 11); }), "60 elements"));
  CHECK(contains(message_of([&] { four_bit_weight(blocks, 6, 10); }), "groups of 2"));
  auto cut = blocks;
  cut.absmax.pop_back();
  CHECK(contains(message_of([&] { four_bit_weight(cut, 5, 12); }), "absmax"));
}

TEST_CASE("LLM-FP4 weights are their codes with a scale per output", "[quant]") {
  const auto file = golden("fp_real_bias");
  struct Named {
    std::string name;
    RealBiasFormat format;
  };
  for (const Named& c : {Named{"e3m0", {3, 0}}, {"e2m1", {2, 1}}, {"e1m2", {1, 2}}}) {
    CAPTURE(c.name);
    const auto all = file.read<std::int32_t, 2>(c.name + ".codes");
    const auto bias = file.read<double, 1>(c.name + ".bias_row");
    Tensor<std::uint8_t, 2> codes(all.shape());
    std::transform(all.data(), all.data() + all.size(), codes.data(),
                   [](std::int32_t code) { return static_cast<std::uint8_t>(code); });
    const auto make = [&] { return four_bit_weight(codes, c.format, bias); };
    const auto w = make();
    CHECK(near(w, file.read<float, 2>(c.name + ".dq")));
    CHECK(w.is_integer() == (c.name == "e1m2"));
    check_runs(make);
    codes(1, 1) = 16;
    CHECK_THROWS_AS(four_bit_weight(codes, c.format, bias), weft::error);
    CHECK(contains(message_of([&] { four_bit_weight(codes, {2, 5}, bias); }), "8 bits"));
    CHECK(
        contains(message_of([&] { four_bit_weight(codes, c.format, bias.view().slice(0, 0, 1)); }),
                 "1 biases"));
  }
}

TEST_CASE("GPTQ layers of files become operators", "[quant]") {
  const auto file = golden("gptq_pack");
  for (const std::string name : {"case0", "case1", "case2"}) {
    CAPTURE(name);
    const auto params = file.read<std::int32_t, 1>(name + ".params");
    const auto qweight = file.read<std::int32_t, 2>(name + ".qweight");
    const auto qzeros = file.read<std::int32_t, 2>(name + ".qzeros");
    const auto scales = file.read<float, 2>(name + ".scales");
    const auto g_idx = file.read<std::int32_t, 1>(name + ".g_idx");
    const auto op = four_bit_operator(
        unpack_gptq({qweight, qzeros, scales, g_idx, static_cast<int>(params(0))}));
    const auto x = file.read<float, 2>(name + ".x");
    const auto y = file.read<double, 2>(name + ".y");
    Tensor<float, 2> got({x.extent(0), y.extent(1)});
    op.apply(x.view(), got.view());
    CHECK(largest_error(doubles_of(got.view()), doubles_of(y.view())) < 4 * kHalfRounding);
    op.apply(x.view().slice(0, 1, 1), got.view().slice(0, 1, 1));
    CHECK(largest_error(doubles_of(got.view()), doubles_of(y.view())) < 4 * kHalfRounding);
  }
}

TEST_CASE("GPTQ layers with inputs in the order of activations", "[quant]") {
  constexpr Index K = 72, N = 33;
  for (const int bits : {2, 3, 4})
    for (const bool shuffled : {false, true})
      for (const bool same_zeros : {false, true}) {
        GptqMatrix w{bits, Tensor<std::uint8_t, 2>({K, N}), Tensor<std::int32_t, 2>({3, N}),
                     even_values<float, 2>({3, N}, 6, .1, 1), reversed_groups(K, 24)};
        for (float& s : w.scales.span()) s = static_cast<float>(fp16(s));
        for (Index i = 0; i < w.codes.size(); ++i)
          w.codes.data()[i] = static_cast<std::uint8_t>((i * 7 + i / 33) % (1 << bits));
        for (Index i = 0; i < w.zeros.size(); ++i)
          w.zeros.data()[i] = same_zeros ? 1 << (bits - 1) : static_cast<std::int32_t>(i % 4 + 1);
        if (!shuffled)
          for (Index k = 0; k < K; ++k) w.g_idx(k) = static_cast<std::int32_t>(k / 24);
        Tensor<float, 2> decoded({N, K});
        dequantize(w, decoded.view().transpose(0, 1));
        for (const Inputs inputs : {Inputs::exact, Inputs::int8}) {
          const auto op = four_bit_operator(w, {}, inputs);
          CHECK(op.weight().has_offset() != same_zeros);
          CHECK(op.weight().group() == 24);
          // Small multiples of fp16 scales that have few bits to lose.
          const double bound = same_zeros ? 2e-6 : kHalfRounding;
          for (const Index n : {Index{1}, Index{5}}) CHECK(error_of(op, decoded, n) < bound);
        }
      }
}

TEST_CASE("groups of GPTQ of different sizes, and layers that are refused", "[quant]") {
  constexpr Index K = 64, N = 32;
  GptqMatrix w{4, Tensor<std::uint8_t, 2>({K, N}), Tensor<std::int32_t, 2>({3, N}),
               even_values<float, 2>({3, N}, 6, .1, 1), Tensor<std::int32_t, 1>({K})};
  for (Index k = 0; k < K; ++k) w.g_idx(k) = k < 24 ? 2 : k < 40 ? 0 : 1;
  CHECK(four_bit_operator(w).weight().group() == 8);  // of 16, 24 and 24 inputs
  const auto why = [&] { return message_of([&] { four_bit_operator(w); }); };
  CHECK(why() == "");
  w.g_idx(0) = 0;
  CHECK(contains(why(), "multiple of 4"));
  w.g_idx(0) = 3;
  CHECK(contains(why(), "g_idx[0] is 3"));
  w.g_idx(0) = 2;
  w.bits = 8;
  CHECK(contains(why(), "eight_bit_operator"));
  w.bits = 4;
  w.zeros = Tensor<std::int32_t, 2>({2, N});
  CHECK(contains(why(), "zeros [2, 32]"));
}

TEST_CASE("8-bit floats of files keep codes and scales", "[quant]") {
  Tensor<std::uint8_t, 2> codes({3, 40});
  for (Index i = 0; i < codes.size(); ++i) codes.data()[i] = static_cast<std::uint8_t>(2 * i % 120);
  Tensor<float, 1> scales({3}), one({1});
  scales(0) = .01f, scales(1) = .3f, scales(2) = 2;
  one(0) = .25f;
  for (const auto* scale : {&scales, &one}) {
    const Float8Operator<> op(float8_weight(codes, *scale));
    const auto& w = op.weight();
    Tensor<float, 2> decoded({3, 40});
    for (Index o = 0; o < 3; ++o)
      for (Index k = 0; k < 40; ++k) {
        decoded(o, k) = (*scale)(scale == &one ? 0 : o) * kE4M3.decode(codes(o, k));
        CHECK(w(o, k) == decoded(o, k));
      }
    for (const Index n : {Index{1}, Index{5}}) CHECK(error_of(op, decoded, n) < 1e-5);
  }
  const auto why = [&] { return message_of([&] { float8_weight<kE5M2>(codes, one); }); };
  CHECK(why() == "");
  codes(2, 7) = 0xfc;
  CHECK(contains(why(), "code 252 of (2, 7)"));
  CHECK(contains(message_of([&] { float8_weight(codes, Tensor<float, 1>({2})); }), "2 scales"));
}
