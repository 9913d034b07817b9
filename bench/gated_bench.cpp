/// linear/<variant>/...: gated units, whole modules of a width of 512.
#include "support/linear_cases.hpp"
#include <weft/attention/linear/dual_gated.hpp>
#include <weft/attention/linear/gated_unit.hpp>
#include <weft/attention/linear/joint_attention.hpp>

namespace {

using bench::Index;
using namespace weft;

constexpr Index kTokens = 1024, kRows = 32, kChannels = 512, kValues = 1024, kShared = 128;

DenseOperator<float> dense(Index out, Index in) {
  return DenseOperator<float>(bench::uniform<float>({out, in}, 7).view());
}

/// Multiply-adds per token, twice.
bench::Row row(const char* name, double per_token) {
  return {.name = bench::row_name(std::string(name) + "/forward/f32",
                                  {{"N", kTokens}, {"C", kChannels}, {"threads", 1}}),
          .flops = 2 * per_token * static_cast<double>(kTokens)};
}

void add_unit() {
  const double products = 3.0 * kChannels * kValues + kChannels * kShared;
  row("linear/gau", products + kTokens * (kShared + kValues)).add([](const Context& context) {
    auto affine = bench::uniform<float>({2, kShared}, 3);
    const View<const float, 2> view = affine.view();
    GatedUnit<> unit{{},
                     dense(2 * kValues, kChannels),
                     dense(kShared, kChannels),
                     dense(kChannels, kValues),
                     view,
                     view,
                     {},
                     false,
                     {Count::one}};
    return [unit = std::move(unit), affine = std::move(affine),
            x = bench::uniform<float>({1, kTokens, kChannels}),
            y = Tensor<float, 3>({1, kTokens, kChannels}),
            &context]() mutable { forward(unit, x, y, context); };
  });
}

/// `gates` says whether both value streams are attended and gated.
void add_joint(const char* name, Index values, bool gates) {
  const JointAttention<float> mixer{256, true};
  row(name, static_cast<double>(mixer.group * (kShared + values) + 2 * kShared * values))
      .add([=](const Context& context) {
        return [=, copies = bench::uniform<float>({4, 1, kTokens, kShared}),
                v = bench::uniform<float>({1, kTokens, values}),
                out = Tensor<float, 3>({1, kTokens, values}), &context]() mutable {
          const auto copy = [&](Index i) { return copies.view().select(0, i); };
          forward(mixer, copy(0), copy(2), copy(1), copy(3), v, out, context);
          if (!gates) return;
          const auto half = [&](auto& x, Index i) {
            return x.view().slice(2, i * values / 2, values / 2);
          };
          triple_gate(half(out, 0), half(out, 1), half(v, 0), half(v, 1), half(out, 0), context);
        };
      });
}

void add_dual() {
  constexpr Index hidden = kChannels / 4, head = 64;
  row("linear/herseg_dla",
      2.0 * kChannels * kChannels + 2.0 * kChannels * hidden + 2.0 * kChannels * head)
      .add([](const Context& context) {
        const auto taps = bench::uniform<float>({kChannels, 3, 3}, 4);
        struct Parts {
          AxialRope<float> rope;
          DepthwiseConv<float> conv;
        };
        auto parts = std::make_unique<Parts>(
            Parts{fit_rope<float>(kChannels, kRows), DepthwiseConv<float>(taps.view())});
        DualGatedAttention<> mixer{kChannels / head,
                                   dense(2 * kChannels, kChannels),
                                   dense(hidden, kChannels),
                                   dense(kChannels, hidden),
                                   &parts->rope,
                                   &parts->conv};
        return [mixer = std::move(mixer), parts = std::move(parts),
                x = bench::uniform<float>({1, kRows, kTokens / kRows, kChannels}),
                y = Tensor<float, 4>({1, kRows, kTokens / kRows, kChannels}),
                &context]() mutable { forward(mixer, x, y, context); };
      });
}

const bench::Rows rows([] {
  add_unit();
  add_joint("linear/flash", kValues, false);
  add_joint("linear/mossformer", 2 * kValues, true);
  add_dual();
});

}  // namespace
