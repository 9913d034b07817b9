#include "reference/quant_methods.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/awq.hpp>
#include <weft/quant/four_bit_weight.hpp>

#include <array>
#include <limits>

using namespace weft;
using quant::AwqOptions;

namespace {

/// Tokens some of whose channels are much larger than others.
Tensor<float, 2> uneven(Index tokens, Index channels) {
  auto x = even_values<float, 2>({tokens, channels}, 1);
  for (Index t = 0; t < tokens; ++t)
    for (Index c = 0; c < channels; c += 5) x(t, c) *= 20;
  return x;
}

}  // namespace

TEST_CASE("awq: groups are rounded between their extremes", "[quant][quant/awq]") {
  for (const Index group : {1, 4, 12, 0}) {
    auto w = even_values<double, 2>({5, 24}, 2);
    for (Index c = 0; c < 24; ++c) w(1, c) = 0.3 + 0.01 * w(1, c);  // above 0: saturates
    for (Index c = 0; c < 24; ++c) w(2, c) = 0;
    const auto got = quant::awq_quantize(w, {.bits = 3, .group = group});
    const Index size = group == 0 ? 24 : group;
    const auto wanted =
        reference::awq_round(double_rows(w.view()), 3, static_cast<std::size_t>(size));
    for (Index r = 0; r < 5; ++r)
      for (Index c = 0; c < 24; ++c) {
        CHECK(got.weight(r, c) ==
              Approx(wanted[static_cast<std::size_t>(r)][static_cast<std::size_t>(c)])
                  .epsilon(1e-13));
        CHECK(got.codes(r, c) <= 7);
        CHECK(got.weight(r, c) ==
              got.scale(r, c / size) * (got.codes(r, c) - got.zero(r, c / size)));
      }
  }
}

TEST_CASE("awq: operators take the matrix", "[quant]") {
  const auto w = even_values<double, 2>({5, 24}, 2, -.5, .6);
  for (const Index group : {8, 0}) {
    const auto found = quant::awq_quantize(w, {.bits = 4, .group = group});
    const auto matrix = quant::quantized_matrix(found);
    const quant::FourBitWeight<> packed(matrix);
    CHECK(packed.group() == (group == 0 ? 24 : group));
    for (Index r = 0; r < 5; ++r)
      for (Index c = 0; c < 24; ++c) {
        CHECK(matrix(r, c) == Approx(found.weight(r, c)).epsilon(1e-6).margin(1e-9));
        // Two terms, each rounded to fp16, of at most 15 steps together.
        CHECK(std::abs(packed(r, c) - matrix(r, c)) <= 15 * matrix.grid(r, c).scale / 2048);
      }
  }
}

TEST_CASE("awq: the search agrees with the outputs themselves", "[quant]") {
  const auto x = uneven(19, 20), a = even_values<float, 2>({3, 20}, 3),
             b = even_values<float, 2>({4, 20}, 4);
  const std::array weights{a.view(), b.view()};
  const AwqOptions options{.bits = 3, .group = 10, .grid = 7};
  const auto found = quant::awq_scales(x, weights, options);
  auto stacked = double_rows(a.view());
  for (const auto& row : double_rows(b.view())) stacked.push_back(row);
  const auto tokens = double_rows(x.view());
  double least = std::numeric_limits<double>::infinity();
  for (Index i = 0; i < 7; ++i) {
    const auto s = reference::awq_scales(tokens, static_cast<double>(i) / 7);
    const double loss = reference::awq_loss(tokens, stacked, s, 3, 10);
    CHECK(found.loss(i) == Approx(loss).epsilon(1e-10));
    if (loss < least) {
      least = loss;
      CHECK(found.ratio >= i);
    }
    if (found.ratio == i) CHECK(largest_error(doubles_of(found.scale.view()), s) <= 1e-14);
  }
  CHECK(found.loss(found.ratio) == Approx(least).epsilon(1e-10));
  CHECK(found.ratio > 0);
}

TEST_CASE("awq: no scales at ratio 0, and any measure of loss", "[quant]") {
  const auto mean = even_values<double, 1>({9}, 5, 0.1, 3);
  const auto s = quant::awq_scales_of_ratio(mean, 0);
  for (const double v : s.span()) CHECK(v == 1);
  const auto found = quant::search_awq_scales(
      mean, 10, [i = 0](View<const double, 1>) mutable { return std::abs(i++ - 4.5); });
  CHECK(found.ratio == 4);  // the first of two equals
  CHECK(found.loss(9) == 4.5);
  CHECK(doubles_of(found.scale.view()) == doubles_of(quant::awq_scales_of_ratio(mean, 0.4).view()));
}

TEST_CASE("awq: clips agree with the outputs themselves", "[quant]") {
  constexpr Index rows = 5, cols = 12, group = 4;
  auto w = even_values<float, 2>({rows, cols}, 6);
  for (Index r = 0; r < rows; ++r) w(r, 1) *= 4;  // worth clipping
  for (const Index tokens : {1, 17, 40}) {
    const auto x = uneven(tokens, cols);
    // Every second token of 40.
    const auto clips = quant::search_awq_clips(w, x, {.bits = 2, .group = group}, 20);
    for (Index g = 0; g < cols / group; ++g) {
      reference::Matrix part;
      for (Index t = 0; t < tokens; t += tokens == 40 ? 2 : 1)
        part.push_back(doubles_of(x.view().select(0, t).slice(0, g * group, group)));
      for (Index r = 0; r < rows; ++r) {
        const auto weights = doubles_of(w.view().select(0, r).slice(0, g * group, group));
        CHECK(clips(r, g) == Approx(reference::awq_clip(weights, part, 2, 20)).epsilon(1e-14));
      }
    }
    quant::awq_clip(w, clips);
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < cols; ++c)
        CHECK(std::abs(w(r, c)) <= static_cast<float>(clips(r, c / group)));
  }
}

TEST_CASE("awq: what it cannot do is named", "[quant]") {
  const auto x = uneven(3, 8), w = even_values<float, 2>({2, 8}, 7);
  const auto v = even_values<double, 2>({2, 8}, 7);
  CHECK(contains(message_of([&] { quant::awq_quantize(v, {.group = 3}); }), "groups of 3 of 8"));
  CHECK(contains(message_of([&] { quant::awq_quantize(v, {.bits = 9}); }), "9 bits"));
  CHECK(contains(message_of([&] { quant::awq_scales(x, {}); }), "no weights"));
  const auto other = even_values<float, 2>({2, 7}, 7);
  const std::array wrong{other.view()};
  CHECK(contains(message_of([&] { quant::awq_scales(x, wrong); }), "8 channels"));
  CHECK(contains(message_of([&] { quant::search_awq_clips(w, other); }), "x is [2, 7]"));
  const Tensor<float, 2> none({0, 8});
  CHECK(contains(message_of([&] { quant::search_awq_clips(w, none); }), "x is [0, 8]"));
  CHECK(contains(message_of([&] { quant::mean_magnitude(none); }), "no tokens"));
  auto bad = x.clone();
  bad(1, 2) = std::numeric_limits<float>::quiet_NaN();
  const std::array weights{w.view()};
  CHECK(contains(message_of([&] { quant::awq_scales(bad, weights); }), "x(1, 2)"));
  const Tensor<double, 2> clips({2, 3});
  auto clipped = w.clone();
  CHECK(contains(message_of([&] { quant::awq_clip(clipped, clips); }), "[2, 3]"));
}
