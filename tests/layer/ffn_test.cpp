#include "reference/feed_forward.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/plain_operator.hpp"
#include "support/values.hpp"
#include <weft/layer/ffn.hpp>

#include <cmath>

using namespace weft;

namespace {

using Dense = DenseOperator<float>;

static_assert(FusedOperator<FeedForward<Dense, GeluErf>>);
static_assert(Operator<SwiGlu<PlainOperator>> && !FusedOperator<SwiGlu<PlainOperator>>);

/// Two products of this depth and an activation, relative to the largest result.
double tolerance(Index depth) { return static_cast<double>(depth + 8) * 6e-8; }

struct Weights {
  Index width, channels;
  Tensor<float, 2> gate = even_values<float, 2>({channels, width}, 1);
  Tensor<float, 2> up = even_values<float, 2>({channels, width}, 2);
  Tensor<float, 2> down = even_values<float, 2>({width, channels}, 3);
  Tensor<float, 1> up_bias = even_values<float, 1>({channels}, 4);
  Tensor<float, 1> down_bias = even_values<float, 1>({width}, 5);
};

template <class F>
std::vector<double> by_rows(const Tensor<float, 2>& x, F f) {
  std::vector<double> out;
  for (Index n = 0; n < x.extent(0); ++n) {
    const auto row = f(doubles_of(x.view().select(0, n)));
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

template <class Hidden, class F>
void require_plain(const Weights& w, const Tensor<float, 2>& x, F f) {
  const auto expected = by_rows(x, [&](const auto& row) {
    return reference::feed_forward(doubles_of(w.up.view()), doubles_of(w.up_bias.view()),
                                   doubles_of(w.down.view()), doubles_of(w.down_bias.view()), f,
                                   row);
  });
  Poisoned<float, 2> y(x.shape());
  FeedForward<Dense, Hidden>(Dense(w.up, w.up_bias), Dense(w.down, w.down_bias))
      .apply(x.view(), y.view());
  REQUIRE(largest_error(doubles_of(y.view()), expected) < tolerance(w.width + w.channels));
  REQUIRE(y.guards_intact());
}

template <class Hidden, class F>
void require_gated(const Weights& w, const Tensor<float, 2>& x, F f) {
  const auto expected = by_rows(x, [&](const auto& row) {
    return reference::gated_feed_forward(doubles_of(w.gate.view()), doubles_of(w.up.view()),
                                         doubles_of(w.down.view()), f, row);
  });
  Poisoned<float, 2> y(x.shape());
  FeedForward<Dense, Gated<Hidden>>(Dense(stack_rows(w.gate, w.up)), Dense(w.down))
      .apply(x.view(), y.view());
  REQUIRE(largest_error(doubles_of(y.view()), expected) < tolerance(w.width + w.channels));
  REQUIRE(y.guards_intact());
}

}  // namespace

TEST_CASE("feed-forward layers agree with the reference", "[layer][layer/swiglu]") {
  for (Index width : {1, 7, 32})
    for (Index channels : {1, 20, 96}) {
      INFO("width " << width << " hidden " << channels);
      const Weights w{width, channels};
      const auto x = even_values<float, 2>({9, width}, 6);
      require_plain<Relu>(w, x, reference::relu);
      require_plain<Silu>(w, x, reference::silu);
      require_plain<GeluErf>(w, x, reference::gelu);
      require_plain<GeluTanh>(w, x, reference::gelu_tanh);
      require_gated<Silu>(w, x, reference::silu);
      require_gated<GeluErf>(w, x, reference::gelu);
      require_gated<Relu>(w, x, reference::relu);
      require_gated<Sigmoid>(w, x, reference::sigmoid);
      require_gated<Identity>(w, x, reference::identity);
    }
}

TEST_CASE("feed-forward: operators without epilogues give the same", "[layer]") {
  const Weights w{16, 40};
  const auto x = even_values<float, 2>({5, 16}, 6);
  Tensor<float, 2> dense({5, 16}), plain({5, 16});
  FeedForward<Dense, GeluErf>(Dense(w.up), Dense(w.down)).apply(x.view(), dense.view());
  FeedForward<PlainOperator, GeluErf>(PlainOperator(w.up.clone()), PlainOperator(w.down.clone()))
      .apply(x.view(), plain.view());
  REQUIRE(largest_error(doubles_of(plain.view()), doubles_of(dense.view())) < tolerance(56));
  SwiGlu<Dense>(Dense(stack_rows(w.gate, w.up)), Dense(w.down)).apply(x.view(), dense.view());
  SwiGlu<PlainOperator>(PlainOperator(stack_rows(w.gate, w.up)), PlainOperator(w.down.clone()))
      .apply(x.view(), plain.view());
  REQUIRE(largest_error(doubles_of(plain.view()), doubles_of(dense.view())) < tolerance(56));
}

TEST_CASE("feed-forward: blocks of rows with an epilogue are the whole", "[layer]") {
  // 2 * 1100 hidden channels in fp32: blocks of 128 rows, so that 300 rows are three of them.
  const Weights w{8, 1100};
  const SwiGlu<Dense> layer(Dense(stack_rows(w.gate, w.up)), Dense(w.down));
  const auto x = even_values<float, 2>({300, 8}, 6), residual = even_values<float, 2>({300, 8}, 7);
  Tensor<float, 2> all({300, 8}), sum = residual.clone();
  layer.apply(x.view(), all.view());
  layer.apply(x.view(), sum.view(), AddResidual{sum.view()});
  for (Index n = 0; n < 300; ++n)
    for (Index d = 0; d < 8; ++d) REQUIRE(sum(n, d) == all(n, d) + residual(n, d));
  for (Index n : {0, 127, 128, 255, 299}) {
    Tensor<float, 2> row({1, 8});
    layer.apply(x.view().slice(0, n, 1), row.view());
    REQUIRE(largest_error(doubles_of(row.view()), doubles_of(all.view().slice(0, n, 1))) <
            tolerance(1108));
  }
}

TEST_CASE("feed-forward refuses what does not fit", "[layer][errors]") {
  const Weights w{8, 20};
  REQUIRE(contains(message_of([&] { SwiGlu<Dense>(Dense(w.up), Dense(w.down)); }),
                   "the first operator has 20 rows, the second 20 columns; wanted twice as many"));
  REQUIRE(contains(
      message_of([&] { FeedForward<Dense, Relu>(Dense(stack_rows(w.gate, w.up)), Dense(w.down)); }),
      "wanted the same number"));
  const FeedForward<Dense, Relu> layer(Dense(w.up), Dense(w.down));
  const Tensor<float, 2> x({3, 8});
  Tensor<float, 2> y({3, 9});
  REQUIRE(contains(message_of([&] { layer.apply(x.view(), y.view()); }),
                   "x is [3, 8], y is [3, 9]; wanted [n, 8] and [n, 8]"));
  REQUIRE(contains(message_of([&] { layer.apply(x.view(), y.view(), AddResidual{y.view()}); }),
                   "wanted [n, 8] and [n, 8]"));
  REQUIRE_NOTHROW(layer.apply(x.view().slice(0, 0, 0), y.view().slice(1, 0, 8).slice(0, 0, 0)));
}
