#include "reference/arrangement.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/layer/cif.hpp>

#include <cmath>

// softmax/cif_predictor

using namespace weft;

namespace {

constexpr Index kFrames = 50, kChannels = 5;

/// Weights in [0, high) that sum to no whole number at any frame, or nearly.
Tensor<double, 1> weights(double high) { return even_values<double, 1>({kFrames}, 7, 0, high); }

/// What fires when the frames are fed in chunks; and what is left.
std::vector<double> fire(const Tensor<double, 2>& h, const Tensor<double, 1>& alpha,
                         const std::vector<Index>& chunks, CifState<double>& state) {
  Tensor<double, 2> embeds({kFrames, kChannels});
  Index at = 0, fired = 0;
  for (const Index n : chunks) {
    fired += cif_fire<double>(state, h.view().slice(0, at, n), alpha.view().slice(0, at, n),
                              embeds.view().slice(0, fired, kFrames - fired));
    at += n;
  }
  return doubles_of(embeds.view().slice(0, 0, fired));
}

double total(const std::vector<double>& values, std::size_t c) {
  double sum = 0;
  for (std::size_t i = c; i < values.size(); i += kChannels) sum += values[i];
  return sum;
}

}  // namespace

TEST_CASE("integrate and fire agrees with prefix sums, in any chunks", "[layer]") {
  const auto h = even_values<double, 2>({kFrames, kChannels}, 1);
  for (const double high : {0.05, 0.4, 0.99}) {
    const auto alpha = weights(high);
    CifState<double> state(kChannels), in_chunks(kChannels);
    const auto whole = fire(h, alpha, {kFrames}, state);
    const auto expected =
        reference::integrate_and_fire(doubles_of(h.view()), doubles_of(alpha.view()), kChannels);
    CHECK(whole.size() == expected.size());
    CHECK((expected.empty() || largest_error(whole, expected) < 1e-12));
    CHECK((fire(h, alpha, {1, 0, 30, 7, 12}, in_chunks) == whole));
    CHECK(in_chunks.integral == state.integral);
    // Nothing is lost: what fired and what is left are all weighted frames.
    for (std::size_t c = 0; c < kChannels; ++c) {
      double all = 0;
      for (Index t = 0; t < kFrames; ++t) all += alpha(t) * h(t, static_cast<Index>(c));
      CHECK(total(whole, c) + state.frame(static_cast<Index>(c)) == Approx(all).epsilon(1e-12));
    }
  }
}

TEST_CASE("integrate and fire: a constant frame, weights above one, frames beyond the end",
          "[layer]") {
  Tensor<float, 2> ones({4, 2}), embeds({4, 2});
  std::fill_n(ones.data(), ones.size(), 1.0f);
  Tensor<double, 1> alpha({5});
  for (Index t = 0; t < 4; ++t) alpha(t) = t == 0 ? 1.75 : 0.5;
  CifState<float> state(2);
  // 1.75 fires once and leaves 0.75; then 1.25, 0.75, 1.25 fire at frames 1 and 3.
  CHECK(cif_fire<float>(state, ones.view(), alpha.view().slice(0, 0, 4), embeds.view()) == 3);
  CHECK(state.integral == 0.25);
  for (Index n = 0; n < 3; ++n) CHECK(embeds(n, 0) == Approx(1.0f));
  // A tail beyond the frames adds weight and no frame.
  alpha(4) = 0.8;
  CHECK(cif_fire<float>(state, ones.view().slice(0, 0, 0), alpha.view().slice(0, 4, 1),
                        embeds.view()) == 1);
  CHECK(embeds(0, 1) == Approx(0.25f));
}

TEST_CASE("CIF weights: both predictors against plain loops", "[layer]") {
  const auto h = even_values<double, 3>({2, 9, 3}, 1);
  Tensor<std::int32_t, 1> lens({2});
  lens(0) = 9, lens(1) = 4;
  const auto bias = even_values<double, 1>({3}, 3), w = even_values<double, 1>({3}, 4);
  for (const Index inner : {Index{1}, Index{3}})
    for (const Index left : {0, 1, 3}) {
      const auto taps = even_values<double, 3>({3, inner, 4}, 2);
      const CifPredictor<double> predictor{taps.view(), bias.view(), w.view(), 0.3, left, 1.5, 0.6};
      Tensor<double, 2> alpha({2, 9});
      cif_weights(predictor, h.view(), lens.view(), alpha.view());
      for (Index b = 0; b < 2; ++b)
        for (Index t = 0; t < 9; ++t) {
          double logit = 0.3;
          for (Index c = 0; c < 3; ++c) {
            double y = bias(c) + (inner == 1 ? h(b, t, c) : 0.0);
            for (Index k = 0; k < 4; ++k)
              for (Index i = 0; i < inner; ++i) {
                const Index from = t + k - left;
                if (from >= 0 && from < 9) y += taps(c, i, k) * h(b, from, inner == 1 ? c : i);
              }
            logit += w(c) * std::max(y, 0.0);
          }
          const double expected = std::max(1.5 / (1 + std::exp(-logit)) - 0.6, 0.0);
          CHECK(alpha(b, t) == Approx(t < lens(b) ? expected : 0.0).margin(1e-13));
        }
    }
}

TEST_CASE("CIF: tail and target", "[layer]") {
  Tensor<double, 2> alpha({2, 3});
  std::fill_n(alpha.data(), alpha.size(), 0.5);
  Tensor<std::int32_t, 1> lens({2}), targets({2});
  lens(0) = 3, lens(1) = 1, targets(0) = 2;
  const auto longer = cif_with_tail(alpha.view(), lens.view(), 0.45);
  CHECK(
      (doubles_of(longer.view()) == std::vector<double>{0.5, 0.5, 0.5, 0.45, 0.5, 0.95, 0.5, 0.0}));
  std::fill_n(alpha.view().pointer(1), 3, 0.0);
  cif_scale_to(alpha.view(), targets.view());
  for (Index t = 0; t < 3; ++t) {
    CHECK(alpha(0, t) == Approx(2.0 / 3));
    CHECK(alpha(1, t) == 0);
  }
}

TEST_CASE("CIF refuses what does not fit", "[layer][errors]") {
  const Tensor<float, 3> h({1, 4, 3}), taps({3, 1, 3}), wrong({3, 2, 3});
  const Tensor<float, 1> bias({3}), w({3});
  Tensor<std::int32_t, 1> lens({1});
  Tensor<double, 2> alpha({1, 4});
  const auto refusal = [&](const Tensor<float, 3>& conv, Index left, std::int32_t length,
                           View<double, 2> to) {
    lens(0) = length;
    return message_of([&] {
      cif_weights(CifPredictor<float>{conv.view(), bias.view(), w.view(), 0, left}, h.view(),
                  lens.view(), to);
    });
  };
  CHECK(contains(refusal(wrong, 1, 4, alpha.view()), "conv_weight is [3, 2, 3]"));
  CHECK(contains(refusal(taps, 3, 4, alpha.view()), "3 frames to the left of 3 taps"));
  CHECK(contains(refusal(taps, 1, 5, alpha.view()), "length 0 is 5"));
  CHECK(contains(refusal(taps, 1, 4, alpha.view().slice(1, 0, 3)), "alpha is [1, 3]"));
  CHECK(contains(message_of([&] { cif_with_tail(alpha.view(), lens.view(), 0); }), "tail is 0"));
  CifState<float> state(3);
  Tensor<float, 2> embeds({1, 3});
  Tensor<double, 1> two({2});
  std::fill_n(two.data(), 2, 1.0);
  CHECK(contains(message_of([&] {
                   cif_fire<float>(state, h.view().select(0, 0).slice(0, 0, 2), two.view(),
                                   embeds.view());
                 }),
                 "2 tokens fire, embeds has room for 1"));
  CHECK(state.integral == 0);
  CHECK(contains(
      message_of([&] { cif_fire<float>(state, h.view().select(0, 0), two.view(), embeds.view()); }),
      "2 weights for 4 frames"));
}
