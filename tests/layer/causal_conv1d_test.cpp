#include "reference/convolution.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/layer/causal_conv1d.hpp>

using namespace weft;

namespace {

struct Sizes {
  Index B, N, C, W;
};

}  // namespace

TEST_CASE("causal convolution: agrees with the reference, from a state and in any split",
          "[layer][layer/causal_conv1d]") {
  for (const auto& [B, N, C, W] :
       {Sizes{1, 1, 1, 1}, Sizes{2, 5, 3, 4}, Sizes{1, 150, 33, 4}, Sizes{1, 2, 16, 5}}) {
    const auto x = even_values<double, 3>({B, N, C}, 1);
    const auto w = even_values<double, 2>({C, W}, 2);
    const auto bias = even_values<double, 1>({C}, 3);
    const CausalConv1d<double> conv(w, bias);
    ConvState<double> state{even_values<double, 3>({B, W - 1, C}, 4)};
    std::vector<double> truth;
    for (Index b = 0; b < B; ++b)
      for (const auto& row : reference::causal_conv1d(
               double_rows(x.view().select(0, b)), double_rows(state.inputs.view().select(0, b)),
               double_rows(w.view()), doubles_of(bias.view())))
        truth.insert(truth.end(), row.begin(), row.end());

    const Poisoned<double, 3> out({B, N, C});
    for (Index at = 0; at < N;) {
      const Index n = std::min<Index>(N - at, at % 3 + 1);
      conv.apply(state, x.view().slice(1, at, n), out.view().slice(1, at, n));
      at += n;
    }
    CHECK(out.guards_intact());
    CHECK(largest_error(doubles_of(out.view()), truth) <= 1e-15 * double(W));
  }
}

TEST_CASE("causal convolution: an activation, 16-bit storage and threads", "[layer]") {
  const auto x = even_values<bf16, 3>({2, 130, 20}, 1);
  const auto w = even_values<float, 2>({20, 4}, 2);
  const CausalConv1d<float> conv(w);
  Tensor<float, 3> wide({2, 130, 20}), plain({2, 130, 20});
  for (Index i = 0; i < x.size(); ++i) wide.data()[i] = static_cast<float>(x.data()[i]);
  conv.apply(wide, plain);
  Tensor<bf16, 3> out({2, 130, 20});
  conv.apply(x, out, Relu{});
  for (Index i = 0; i < out.size(); ++i) {
    const float wanted = std::max(plain.data()[i], 0.f);
    CHECK(std::abs(static_cast<float>(out.data()[i]) - wanted) <= wanted * 0x1p-8f);
  }
  CHECK(same_for_any_threads([&](const Context& ctx) {
    Tensor<float, 3> y({2, 130, 20});
    conv.apply(wide, y, Silu{}, ctx);
    return doubles_of(y.view());
  }));
}

TEST_CASE("causal convolution: what does not fit is refused", "[layer]") {
  const CausalConv1d<float> conv(Tensor<float, 2>({3, 4}));
  Tensor<float, 3> x({1, 5, 3}), y({1, 5, 4});
  CHECK(contains(message_of([&] { conv.apply(x, y); }), "wanted one shape"));
  auto state = conv.make_state(2);
  Tensor<float, 3> z({1, 5, 3});
  CHECK(contains(message_of([&] { conv.apply(state, x, z); }), "the state is"));
  CHECK(contains(message_of([] { CausalConv1d<float>(Tensor<float, 2>({3, 0})); }), "W >= 1"));
  CHECK(contains(message_of([] {
                   CausalConv1d<float>(Tensor<float, 2>({3, 4}), Tensor<float, 1>({2}));
                 }),
                 "bias has 2"));
}
