#include "attention/linear/images.hpp"
#include <weft/attention/linear/focused.hpp>
#include <weft/attention/linear/simplified.hpp>

using namespace weft;
using namespace images;

TEST_CASE("image attention: simplified", "[linear][linear/slab_sla]") {
  const Conv conv;
  const auto position = even_values<double, 2>({kTokens, kChannels}, 5);
  const SimplifiedAttention<double> mixer{kHeads, position, &conv.conv};
  Images().require_maps(mixer, [&](const Matrix& q, const Matrix& k, const Matrix& v) {
    const Matrix moved = reference::plus(k, tokens_of(unsqueeze(position.view()), 0));
    return reference::plus(reference::by_heads(kHeads, q, moved, v, reference::simplified),
                           conv(v));
  });
}

TEST_CASE("image attention: focused", "[linear][linear/flatten_focused]") {
  const Conv conv;
  const auto position = even_values<double, 2>({kTokens, kChannels}, 5);
  const auto scale = even_values<double, 1>({kChannels}, 6);
  for (const int power : {1, 3, 4}) {
    const FocusedAttention<double> mixer{kHeads, position, scale, &conv.conv, power};
    Images().require_maps(mixer, [&](Matrix q, const Matrix& k, const Matrix& v) {
      Matrix moved = reference::plus(k, tokens_of(unsqueeze(position.view()), 0));
      for (Matrix* x : {&q, &moved})
        for (auto& row : *x) row = reference::focused(row, doubles_of(scale.view()), power);
      return reference::plus(reference::by_heads(kHeads, q, moved, v, reference::mean_normalised),
                             conv(v));
    });
  }
}

TEST_CASE("image attention: focusing neither overflows nor vanishes", "[linear]") {
  constexpr Index n = 5;
  const float inverse[n] = {1, 1, 1, 1, 1};
  for (const float size : {1e-30f, 1e30f}) {
    const float x[n] = {size, size / 2, -size, size, 0};
    float y[n];
    detail::focus_row<DefaultArch>(x, static_cast<const float*>(nullptr), inverse, n, 3, y);
    for (const float v : y) CHECK(std::isfinite(v));
    if (size > 1) CHECK(y[0] / y[1] == Approx(8));
  }
}

TEST_CASE("image attention: what does not fit is refused", "[linear]") {
  const Images in;
  Tensor<double, 3> out(in.q.shape());
  const auto refusal = [&](const auto& mixer) {
    const auto map = [](auto view) { return map_of_tokens(view, kRows); };
    return message_of([&] {
      forward(mixer, map(in.q.view()), map(in.k.view()), map(in.v.view()), map(out.view()));
    });
  };
  const Conv conv;
  const Tensor<double, 2> position({kTokens - 1, kChannels}), right({kTokens, kChannels});
  const Tensor<double, 1> scale({kChannels});
  CHECK(contains(refusal(SimplifiedAttention<double>{kHeads, position, &conv.conv}),
                 "19 positions for 20 tokens"));
  CHECK(contains(refusal(SimplifiedAttention<double>{5, right, &conv.conv}),
                 "5 heads share 18 channels"));
  CHECK(contains(refusal(FocusedAttention<double>{kHeads, position, scale, &conv.conv}),
                 "for 20 tokens of 18 channels"));
  CHECK(contains(refusal(FocusedAttention<double>{kHeads, right, scale, &conv.conv, 0}),
                 "power is 0"));
}
