#include "reference/block_formats.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/ternary.hpp>

#include <algorithm>
#include <cmath>

namespace {

using namespace weft::quant;
using weft::Index;
using weft::Tensor;

}  // namespace

TEST_CASE("ternary weights by hand", "[quant]") {
  Tensor<float, 2> w({2, 3});
  const float values[] = {4, -1, 1, -2, 0.9f, 0};  // mean magnitude 8.9 / 6 = 1.4833
  std::copy(values, values + 6, w.data());
  const TernaryMatrix q = quantize_ternary(w);
  const int codes[] = {1, -1, 1, -1, 1, 0};
  for (Index i = 0; i < 6; ++i) CHECK(q.codes.data()[i] == codes[i]);
  CHECK(q.scale == Approx(8.9 / 6).epsilon(1e-6));
  Tensor<float, 2> back(w.shape());
  dequantize(q, back);
  for (Index i = 0; i < 6; ++i) CHECK(back.data()[i] == q.scale * static_cast<float>(codes[i]));
}

TEST_CASE("ternary weights agree with their definition", "[quant][quant/ternary]") {
  const auto w = even_values<float, 2>({31, 17}, 8);
  for (const double eps : {1e-5, 0.2}) {
    const auto expected = reference::ternary(doubles_of(w.view()), eps);
    const TernaryMatrix q = quantize_ternary(w, eps);
    CHECK(q.scale == Approx(expected.gamma).epsilon(1e-7));
    CHECK(std::equal(q.codes.data(), q.codes.data() + q.codes.size(), expected.codes.begin()));
  }
}

TEST_CASE("ternary weights do not depend on scale or order in memory", "[quant]") {
  const auto w = even_values<float, 2>({7, 13}, 3);
  auto large = w.clone();
  for (float& v : large.span()) v *= 256;
  const auto a = quantize_ternary(w, 0), b = quantize_ternary(large, 0);
  const auto turned = quantize_ternary(w.view().transpose(0, 1), 0);
  for (Index r = 0; r < 7; ++r)
    for (Index c = 0; c < 13; ++c) {
      CHECK(a.codes(r, c) == b.codes(r, c));
      CHECK(a.codes(r, c) == turned.codes(c, r));
    }
  CHECK(b.scale == a.scale * 256);
}

TEST_CASE("ternary weights at the edges", "[quant]") {
  for (const double eps : {1e-5, 0.}) {
    const auto zeros = quantize_ternary(Tensor<float, 2>({2, 2}), eps);
    for (const auto code : zeros.codes.span()) CHECK(code == 0);
    CHECK(zeros.scale == 0);
  }
  CHECK(quantize_ternary(Tensor<float, 2>({0, 4})).codes.size() == 0);
  Tensor<float, 2> w({1, 2});
  CHECK(contains(message_of([&] { quantize_ternary(w, -1); }), "eps"));
  w(0, 1) = std::nanf("");
  CHECK(contains(message_of([&] { quantize_ternary(w); }), "w(0, 1)"));
  Tensor<float, 2> small({1, 1});
  CHECK(contains(message_of([&] { dequantize(quantize_ternary(small), w); }), "[1, 2]"));
}
