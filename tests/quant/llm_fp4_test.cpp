#include "reference/llm_fp4.hpp"

#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/core/random.hpp>
#include <weft/quant/four_bit_operator.hpp>
#include <weft/quant/llm_fp4.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

/// Tokens whose channels differ in scale.
Tensor<float, 2> tokens(Index count, Index channels, std::uint64_t seed) {
  Tensor<float, 2> x({count, channels});
  Philox(seed, 0).normal(x.span());
  for (Index t = 0; t < count; ++t)
    for (Index c = 0; c < channels; ++c) x(t, c) *= std::ldexp(1.f, static_cast<int>(c % 6) - 3);
  return x;
}

double output_error(const Tensor<float, 2>& x, const Tensor<float, 2>& w,
                    const LlmFp4Layer& layer) {
  const auto xq = quantize_activations<float>(layer, x);
  const auto wq = quantize_weight<float>(layer, w);
  double sum = 0;
  for (Index t = 0; t < x.extent(0); ++t)
    for (Index r = 0; r < w.extent(0); ++r) {
      double error = 0;
      for (Index c = 0; c < x.extent(1); ++c)
        error += xq(t, c) * wq(r, c) - static_cast<double>(x(t, c)) * static_cast<double>(w(r, c));
      sum += error * error;
    }
  return sum;
}

}  // namespace

TEST_CASE("weights and activations are rounded as the paper says", "[quant/llm_fp4]") {
  const auto x = tokens(20, 13, 1), w = tokens(7, 13, 2);
  const auto layer = llm_fp4_search(x, w, 4, 1);
  const auto [we, wm] = layer.weight_format;
  const auto [xe, xm] = layer.activation_format;
  const auto xq = quantize_activations<float>(layer, x);
  const auto wq = quantize_weight<float>(layer, w);
  for (Index c = 0; c < 13; ++c) {
    double largest = 0;
    for (Index t = 0; t < 20; ++t)
      largest = std::max(largest, std::abs(static_cast<double>(x(t, c))));
    const double bias = reference::pre_shifted_bias(
        reference::min_max_exponent_bias(largest, xe, xm), layer.rho, xe);
    CHECK(layer.rho + layer.shift(c) == Approx(bias).epsilon(1e-12));
    for (Index t = 0; t < 20; ++t)
      CHECK(xq(t, c) ==
            Approx(reference::real_bias_value(static_cast<double>(x(t, c)), xe, xm, bias)));
    for (Index r = 0; r < 7; ++r)
      CHECK(wq(r, c) == Approx(reference::real_bias_value(static_cast<double>(w(r, c)), we, wm,
                                                          layer.weight_bias(r))));
  }
}

TEST_CASE("pre-shifts make one bias do for all channels", "[quant/llm_fp4]") {
  const auto x = tokens(15, 8, 3), w = tokens(4, 8, 4);
  const auto layer = llm_fp4_search(x, w, 4, 1);
  const auto xq = quantize_activations<float>(layer, x);
  auto gamma = even_values<float, 1>({8}, 5, 0.5, 2), beta = even_values<float, 1>({8}, 6);
  const auto old_gamma = gamma.clone();
  fold_into_norm(layer, gamma.view(), beta.view());
  const RealBiasGrid shared(layer.activation_format, layer.rho);
  for (Index c = 0; c < 8; ++c) {
    CHECK(gamma(c) == std::ldexp(old_gamma(c), layer.shift(c)));
    for (Index t = 0; t < 15; ++t) {
      const double shifted = std::ldexp(static_cast<double>(x(t, c)), layer.shift(c));
      CHECK(std::ldexp(shared.round_trip(shifted), -layer.shift(c)) ==
            Approx(xq(t, c)).epsilon(1e-13));
    }
  }
}

TEST_CASE("the search does better than the ranges do", "[quant/llm_fp4]") {
  const int bits = GENERATE(3, 4, 6, 8);
  const auto x = tokens(40, 10, 7), w = tokens(6, 10, 8);
  const auto start = llm_fp4_search(x, w, bits, 0);
  CHECK(start.weight_format.bits() == bits);
  for (Index r = 0; r < 6; ++r) {
    double largest = 0;
    for (Index c = 0; c < 10; ++c)
      largest = std::max(largest, std::abs(static_cast<double>(w(r, c))));
    CHECK(max_value(start.weight_format, start.weight_bias(r)) == Approx(largest));
  }
  const auto found = llm_fp4_search(x, w, bits, 1);
  CHECK(found.weight_format.bits() == bits);
  CHECK(found.activation_format.bits() == bits);
  CHECK(output_error(x, w, found) < output_error(x, w, start));
}

TEST_CASE("weights of 4 bits run by table", "[quant/llm_fp4]") {
  const auto x = tokens(9, 32, 9), w = tokens(5, 32, 10);
  const auto layer = llm_fp4_search(x, w, 4, 1);
  const auto wq = quantize_weight<float>(layer, w);
  Tensor<float, 2> y({9, 5});
  FourBitOperator<>(pack_weight(layer, w)).apply(x.view(), y.view());
  std::vector<double> expected;
  for (Index t = 0; t < 9; ++t)
    for (Index r = 0; r < 5; ++r) {
      double sum = 0;
      for (Index c = 0; c < 32; ++c) sum += static_cast<double>(x(t, c)) * wq(r, c);
      expected.push_back(sum);
    }
  CHECK(largest_error(doubles_of(y.view()), expected) < 1e-3);  // scales in fp16
}

TEST_CASE("LLM-FP4: channels and outputs of zeros", "[quant/llm_fp4]") {
  auto x = tokens(12, 6, 11), w = tokens(4, 6, 12);
  for (Index t = 0; t < 12; ++t) x(t, 3) = 0;
  for (Index c = 0; c < 6; ++c) w(2, c) = 0;
  const auto layer = llm_fp4_search(x, w, 4, 1);
  const auto xq = quantize_activations<float>(layer, x);
  const auto wq = quantize_weight<float>(layer, w);
  for (Index t = 0; t < 12; ++t) CHECK(xq(t, 3) == 0);
  for (Index c = 0; c < 6; ++c) CHECK(wq(2, c) == 0);
}

TEST_CASE("LLM-FP4 refuses what it cannot search", "[quant/llm_fp4]") {
  auto x = tokens(3, 4, 13), w = tokens(2, 4, 14);
  Tensor<float, 2> narrow({3, 3}), none({0, 4});
  CHECK(contains(message_of([&] { llm_fp4_search(narrow, w); }), "[T, C]"));
  CHECK(contains(message_of([&] { llm_fp4_search(none, w); }), "one token"));
  CHECK(contains(message_of([&] { llm_fp4_search(x, w, 9); }), "9 bits"));
  CHECK(contains(message_of([&] { llm_fp4_search(x, w, 4, -1); }), "rounds"));
  const auto layer = llm_fp4_search(x, w, 8, 0);
  CHECK(contains(message_of([&] { quantize_activations<float>(layer, narrow); }), "4 channels"));
  CHECK(contains(message_of([&] { quantize_weight<float>(layer, x); }), "2 biases"));
  CHECK(contains(message_of([&] { pack_weight(layer, w); }), "8 bits"));
  x(1, 1) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { llm_fp4_search(x, w); }), "x(1, 1)"));
}
