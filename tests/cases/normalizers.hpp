#pragma once

#include "cases/softmax.hpp"
#include "reference/normalizer.hpp"
#include <weft/attention/softmax/clipped.hpp>
#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/gated_output.hpp>
#include <weft/attention/softmax/pattention.hpp>
#include <weft/attention/softmax/power.hpp>
#include <weft/attention/softmax/top_k.hpp>

/// The rows of the softmax family's case table that differ in the normalizer.
namespace cases {

/// Weights of a row of which only the visible logits matter.
template <class F>
auto of_visible(F f) {
  return [f](const reference::Values& s, std::size_t) { return f(s); };
}

/// Calls f(row) for every row.
template <class F>
void for_each_normalizer_case(F&& f) {
  using namespace weft;
  using reference::CausalMode;
  using reference::Values;

  f(SoftmaxCase{"softmax/relu", 2,
                [](auto&) {
                  return Softmax{kCausal, NoScore{}, ReluWeights{}};
                },
                [](auto&, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.options.weights = of_visible([](const Values& s) {
                    return reference::relu_weights(s, double(s.size()), 1);
                  });
                }});
  f(SoftmaxCase{"softmax/squared_relu", 1,
                [](auto& in) {
                  return Softmax{BoolMask{in.draw_mask()}, NoScore{}, ReluWeights<2>{Count::keys}};
                },
                [](auto& in, Question& a) {
                  const auto s = in.shape.sizes();
                  const auto bytes = in.mask.span();
                  a.options.mask = {{bytes.begin(), bytes.end()}, s.B, 1, s.N, s.M};
                  a.options.weights = [](const Values& x, std::size_t M) {
                    return reference::relu_weights(x, double(M), 2);
                  };
                }});
  f(SoftmaxCase{"softmax/identity", 2,
                [](auto&) {
                  return Softmax{kCausal, NoScore{}, IdentityWeights{Count::visible}};
                },
                [](auto&, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.options.weights = of_visible([](const Values& s) {
                    return reference::identity_weights(s, double(s.size()));
                  });
                }});
  f(SoftmaxCase{"softmax/sigmoid", 1,
                [](auto& in) {
                  return Softmax{NoMask{}, AdditiveBias{in.draw_bias()},
                                 SigmoidWeights{-0.5, Count::one, true}};
                },
                [](auto& in, Question& a) {
                  const auto s = in.shape.sizes();
                  a.options.bias = {doubles(in.bias), 1, s.Hq, s.N, s.M};
                  a.options.weights = [](const Values& x, std::size_t M) {
                    return reference::sigmoid_weights(x, -0.5 - std::log(double(M)), 1);
                  };
                }});
  f(SoftmaxCase{"softmax/power", 1,
                [](auto&) {
                  return Softmax{kCausal, NoScore{}, PowerSoftmax<4>{{1e-3, true}}};
                },
                [](auto&, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.options.weights = of_visible(
                      [](const Values& s) { return reference::power_weights(s, 4, 1e-3, true); });
                }});
  f(SoftmaxCase{"softmax/stable_power", 3,
                [](auto&) {
                  return Softmax{Window{30, 2}, NoScore{}, StablePowerSoftmax<6>{{1e-3}, 1e-2}};
                },
                [](auto&, Question& a) {
                  a.options.window_left = 30;
                  a.options.window_right = 2;
                  a.options.weights = of_visible([](const Values& s) {
                    return reference::stable_power_weights(s, 6, 1e-3, false, 1e-2);
                  });
                }});
  f(SoftmaxCase{"softmax/clipped", 2,
                [](auto&) {
                  return Softmax{kCausal, SoftCap{5}, ClippedSoftmax{-0.003, 1.05}};
                },
                [](auto&, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.options.softcap = 5;
                  a.options.weights = of_visible(
                      [](const Values& s) { return reference::clipped_weights(s, 1.05, -0.003); });
                }});
  f(SoftmaxCase{"softmax/pattention", 1,
                [](auto&) {
                  return Softmax{NoMask{}, NoScore{}, NormalizedGelu{}, 1.0};
                },
                [](auto&, Question& a) {
                  a.options.scale = 1.0;
                  a.options.weights = [](const Values& s, std::size_t M) {
                    return reference::normalized_gelu(s, std::sqrt(double(M)));
                  };
                }});
  f(SoftmaxCase{"softmax/top_k", 2,
                [](auto&) {
                  return Softmax{kCausal, NoScore{}, TopK{5}};
                },
                [](auto&, Question& a) {
                  a.options.causal = CausalMode::bottom_right;
                  a.options.top_k = 5;
                }});
  f(SoftmaxCase{"softmax/gated", 2,
                [](auto& in) {
                  return Softmax{kCausal, NoScore{}, GatedOutput{PlainSoftmax{}, in.draw_gates()}};
                },
                [](auto& in, Question& a) {
                  const auto s = in.shape.sizes();
                  a.options.causal = CausalMode::bottom_right;
                  a.options.gates = {doubles(in.gates), 1, s.Hq, 1, 1};
                }});
}

}  // namespace cases
