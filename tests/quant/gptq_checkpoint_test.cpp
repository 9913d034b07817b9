#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/gptq_checkpoint.hpp>

#include <algorithm>
#include <cmath>

namespace {

using namespace weft::quant;
using weft::Index;
using weft::Tensor;

constexpr Index kInputs = 96, kOutputs = 64, kGroups = 3;

/// A layer of three groups of 32 inputs; the groups are shuffled when `act_order`.
GptqMatrix some_matrix(int bits, GptqZeros stored, bool act_order) {
  GptqMatrix w{bits, Tensor<std::uint8_t, 2>({kInputs, kOutputs}),
               Tensor<std::int32_t, 2>({kGroups, kOutputs}),
               even_values<float, 2>({kGroups, kOutputs}, 5, 0.1, 1),
               Tensor<std::int32_t, 1>({kInputs})};
  const int count = 1 << bits;
  for (Index i = 0; i < w.codes.size(); ++i)
    w.codes.data()[i] = static_cast<std::uint8_t>((i * 7 + i / 64) % count);
  for (Index i = 0; i < w.zeros.size(); ++i)
    w.zeros.data()[i] = static_cast<std::int32_t>(i % count + (stored == GptqZeros::plain ? 0 : 1));
  for (Index k = 0; k < kInputs; ++k)
    w.g_idx(k) = static_cast<std::int32_t>(act_order ? k % kGroups : k / 32);
  return w;
}

GptqTensors tensors_of(const GptqMatrix& w, const GptqWords& words, GptqZeros stored) {
  return {words.qweight.view(),
          words.qzeros.view(),
          w.scales.view(),
          w.g_idx.view(),
          w.bits,
          32,
          stored};
}

template <class T, std::size_t R>
bool equal(const Tensor<T, R>& a, const Tensor<T, R>& b) {
  return a.shape() == b.shape() && std::ranges::equal(a.span(), b.span());
}

}  // namespace

TEST_CASE("GPTQ layers come back from their words", "[quant]") {
  for (const int bits : {2, 3, 4, 8})
    for (const GptqZeros stored : {GptqZeros::minus_one, GptqZeros::plain})
      for (const bool act_order : {false, true}) {
        const GptqMatrix w = some_matrix(bits, stored, act_order);
        const GptqWords words = pack_gptq(w, stored);
        CHECK(words.qweight.extent(0) == kInputs * bits / 32);
        CHECK(words.qzeros.extent(1) == kOutputs * bits / 32);
        const GptqMatrix back = unpack_gptq(tensors_of(w, words, stored));
        CHECK(equal(back.codes, w.codes));
        CHECK(equal(back.zeros, w.zeros));
        CHECK(equal(back.scales, w.scales));
        CHECK(equal(back.g_idx, w.g_idx));
      }
}

TEST_CASE("GPTQ layers stand for scale times code minus zero", "[quant]") {
  const GptqMatrix w = some_matrix(4, GptqZeros::plain, true);
  Tensor<float, 2> weight({kOutputs, kInputs});
  dequantize(w, weight.view().transpose(0, 1));
  for (Index k = 0; k < kInputs; ++k)
    for (Index n = 0; n < kOutputs; ++n) {
      const Index g = k % kGroups;
      if (weight(n, k) != w.scales(g, n) * static_cast<float>(w.codes(k, n) - w.zeros(g, n)))
        FAIL(k << ", " << n);
    }
}

TEST_CASE("the two formats of GPTQ zeros differ by one", "[quant]") {
  const GptqMatrix w = some_matrix(4, GptqZeros::plain, false);
  const GptqWords words = pack_gptq(w, GptqZeros::plain);
  const GptqMatrix other = unpack_gptq(tensors_of(w, words, GptqZeros::minus_one));
  for (Index i = 0; i < w.zeros.size(); ++i) CHECK(other.zeros.data()[i] == w.zeros.data()[i] + 1);
}

TEST_CASE("GPTQ layers without g_idx have groups in order", "[quant]") {
  const GptqMatrix w = some_matrix(3, GptqZeros::minus_one, false);
  const GptqWords words = pack_gptq(w);
  GptqTensors x = tensors_of(w, words, GptqZeros::minus_one);
  x.g_idx = {};
  CHECK(equal(unpack_gptq(x).g_idx, w.g_idx));
  x.group_size = 40;  // 40, 40 and 16 inputs
  CHECK(unpack_gptq(x).g_idx(79) == 1);
  CHECK(unpack_gptq(x).g_idx(80) == 2);
  x.group_size = -1;
  CHECK(contains(message_of([&] { unpack_gptq(x); }), "3 groups of scales; 96 inputs"));
  x.scales = x.scales.slice(0, 0, 1);
  x.qzeros = x.qzeros.slice(0, 0, 1);
  CHECK(unpack_gptq(x).g_idx(95) == 0);
}

TEST_CASE("GPTQ layers that do not fit together are refused", "[quant]") {
  GptqMatrix w = some_matrix(4, GptqZeros::minus_one, true);
  const GptqWords words = pack_gptq(w);
  const GptqTensors good = tensors_of(w, words, GptqZeros::minus_one);
  const auto why = [&](auto change) {
    GptqTensors x = good;
    change(x);
    return message_of([&] { unpack_gptq(x); });
  };
  CHECK(why([](GptqTensors&) {}) == "");
  CHECK(contains(why([](auto& x) { x.bits = 5; }), "codes of 5 bits"));
  CHECK(contains(why([](auto& x) { x.bits = 8; }), "multiples of 32"));
  CHECK(contains(why([](auto& x) { x.scales = x.scales.slice(1, 0, 32); }), "for 64 outputs"));
  CHECK(contains(why([](auto& x) { x.qzeros = x.qzeros.slice(0, 0, 2); }), "ask for [3, 8]"));
  CHECK(contains(why([](auto& x) { x.g_idx = x.g_idx.slice(0, 0, 95); }), "95 entries for 96"));
  w.g_idx(7) = 3;
  CHECK(contains(why([](auto&) {}), "g_idx[7] is 3, there are 3 groups"));
  w.g_idx(7) = -1;
  CHECK(contains(why([](auto&) {}), "g_idx[7] is -1"));
  w.g_idx(7) = 0;
  w.scales(2, 5) = std::nanf("");
  CHECK(contains(why([](auto&) {}), "scales[2, 5]"));
  Tensor<float, 2> small({3, 3});
  CHECK(contains(message_of([&] { dequantize(w, small); }), "[96, 64]"));
}

TEST_CASE("what GPTQ words cannot hold is refused", "[quant]") {
  GptqMatrix w = some_matrix(3, GptqZeros::minus_one, false);
  w.zeros(1, 1) = 0;
  CHECK(contains(message_of([&] { pack_gptq(w); }), "zero point 0 of 3 bits; this format holds 1"));
  w.zeros(1, 1) = 8;
  CHECK(message_of([&] { pack_gptq(w); }) == "");
  CHECK(contains(message_of([&] { pack_gptq(w, GptqZeros::plain); }), "0 to 7"));
  w.zeros(1, 1) = 4;
  w.codes(5, 6) = 8;
  CHECK(contains(message_of([&] { pack_gptq(w); }), "code 8 at [5, 6]"));
  w.codes = Tensor<std::uint8_t, 2>({40, kOutputs});
  CHECK(contains(message_of([&] { pack_gptq(w); }), "[40, 64]"));
}
