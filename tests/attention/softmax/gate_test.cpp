#include "reference/normalizer.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/clipped.hpp>
#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/gate.hpp>
#include <weft/attention/softmax/mixer.hpp>

using namespace weft;

namespace {

constexpr Index B = 2, N = 19, H = 3, D = 5, kHidden = 4;

/// The input of a layer, and logits of its gates.
template <class T>
struct Layer {
  Tensor<T, 3> x = even_values<T, 3>({B, N, H* D}, 1);
  Tensor<T, 3> logits{{B, H, N}};

  /// The channels of token i that head h sees, or all.
  std::vector<double> head(Index b, Index h, Index i) const {
    return doubles_of(x.view().select(0, b).select(0, i).slice(0, h * D, D));
  }
  std::vector<double> all(Index b, Index i) const {
    return doubles_of(x.view().select(0, b).select(0, i));
  }
  /// Largest difference of sigma(logits) from f(b, h, i).
  template <class F>
  double error(F f) const {
    Tensor<T, 3> gates({B, H, N});
    open_gates(logits, gates);
    double worst = 0;
    for (Index b = 0; b < B; ++b)
      for (Index h = 0; h < H; ++h)
        for (Index i = 0; i < N; ++i)
          worst = std::max(worst, std::abs(double(gates(b, h, i)) - f(b, h, i)));
    return worst;
  }
};

}  // namespace

TEMPLATE_TEST_CASE("gates: predictors per head, over all features, and with a hidden layer",
                   "[softmax]", float, double) {
  using T = TestType;
  const double tolerance = 20 * double(std::numeric_limits<T>::epsilon());
  Layer<T> layer;
  const auto bias = even_values<T, 1>({H}, 2), weight_of_all = even_values<T, 1>({H * H * D}, 3);
  const auto weight = even_values<T, 2>({H, D}, 4);
  gate_logits(HeadGate<T>{weight.view(), bias.view()}, layer.x, layer.logits);
  CHECK(layer.error([&](Index b, Index h, Index i) {
    return reference::linear_gate(doubles_of(weight.view().select(0, h)), layer.head(b, h, i),
                                  double(bias(h)));
  }) < tolerance);

  const View<const T, 2> wide(weight_of_all.data(), {H, H * D});
  gate_logits(FeatureGate<T>{wide, bias.view()}, layer.x, layer.logits);
  CHECK(layer.error([&](Index b, Index h, Index i) {
    return reference::linear_gate(doubles_of(wide.select(0, h)), layer.all(b, i), double(bias(h)));
  }) < tolerance);

  const auto maps = even_values<T, 3>({H, kHidden, D}, 5);
  const auto hidden_bias = even_values<T, 2>({H, kHidden}, 6),
             u = even_values<T, 2>({H, kHidden}, 7);
  gate_logits(MlpGate<T>{maps.view(), hidden_bias.view(), u.view(), bias.view()}, layer.x,
              layer.logits);
  CHECK(layer.error([&](Index b, Index h, Index i) {
    std::vector<std::vector<double>> rows;
    for (Index m = 0; m < kHidden; ++m)
      rows.push_back(doubles_of(maps.view().select(0, h).select(0, m)));
    return reference::mlp_gate(rows, doubles_of(hidden_bias.view().select(0, h)),
                               doubles_of(u.view().select(0, h)), layer.head(b, h, i),
                               double(bias(h)));
  }) < tolerance);
}

TEST_CASE("gates: per head, the mean comes before sigma; the factor after it", "[softmax]") {
  Tensor<double, 3> logits({1, 1, 2}), gate({1, 1, 1});
  logits(0, 0, 0) = 3;
  logits(0, 0, 1) = -1;
  open_head_gates(logits, gate, 4);
  CHECK(gate(0, 0, 0) == Approx(4 / (1 + std::exp(-1.0))).epsilon(1e-15));
}

TEST_CASE("gated: rows of any normalizer times their gate", "[softmax][softmax/gated]") {
  const auto q = even_values<float, 4>({B, H, N, D}, 1),
             k = even_values<float, 4>({B, 1, 33, D}, 2);
  const auto v = even_values<float, 4>({B, 1, 33, D}, 3);
  const auto gates = even_values<float, 3>({B, H, N}, 4, 0, 1);
  const auto check = [&](const auto& normalizer) {
    Tensor<float, 4> plain({B, H, N, D}), gated({B, H, N, D});
    forward(Softmax{NoMask{}, NoScore{}, normalizer}, q, k, v, plain);
    forward(Softmax{NoMask{}, NoScore{}, GatedOutput{normalizer, gates.view()}}, q, k, v, gated);
    for (Index i = 0; i < plain.size(); ++i) plain.data()[i] *= gates.data()[i / D];
    CHECK(largest_error(doubles_of(gated.view()), doubles_of(plain.view())) < 1e-6);
  };
  check(PlainSoftmax{});
  check(ClippedSoftmax{});
  check(ReluWeights<>{});
}

TEST_CASE("gated: a gate of one changes no bit, and no log-sum-exp", "[softmax]") {
  const auto q = even_values<float, 4>({1, 2, N, D}, 1),
             k = even_values<float, 4>({1, 2, 33, D}, 2);
  Tensor<float, 3> one({1, 1, 1}), lse({1, 2, N}), lse_gated({1, 2, N});
  one(0, 0, 0) = 1;
  Tensor<float, 4> plain({1, 2, N, D}), gated({1, 2, N, D});
  forward_with_lse(Softmax{}, q, k, k, plain, lse);
  const GatedOutput gate{PlainSoftmax{}, std::as_const(one).view()};
  forward_with_lse(Softmax{NoMask{}, NoScore{}, gate}, q, k, k, gated, lse_gated);
  CHECK((doubles_of(gated.view()) == doubles_of(plain.view())));
  CHECK((doubles_of(lse_gated.view()) == doubles_of(lse.view())));
}

TEST_CASE("gates: shapes that do not fit are refused", "[softmax]") {
  Layer<float> layer;
  const Tensor<float, 2> weight({H, D}), wide({H, 7});
  const Tensor<float, 1> bias({H}), short_bias({2});
  Tensor<float, 3> few({B, 2, N});
  const auto refusal = [&](const auto& w, const auto& b, auto& logits) {
    return message_of([&] { gate_logits(HeadGate<float>{w.view(), b.view()}, layer.x, logits); });
  };
  CHECK(contains(refusal(wide, bias, layer.logits), "x has 15 channels, the weights are for 21"));
  CHECK(contains(refusal(weight, bias, few), "must be [B, H, N]"));
  CHECK(contains(message_of([&] { open_gates(layer.logits, few); }), "same shape"));
  CHECK(contains(message_of([&] { open_gates(layer.logits, layer.logits, HUGE_VAL); }),
                 "factor must be finite"));
  CHECK(contains(message_of([&] { open_head_gates(layer.logits, few); }), "[B, H, 1]"));
  const Tensor<float, 3> gates({B, 2, 1});
  const GatedOutput gated{PlainSoftmax{}, gates.view()};
  CHECK(contains(message_of([&] { gated.check(B, H, N, 4); }), "axis 1 of extent 2 to 3"));
}
