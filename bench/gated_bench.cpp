/// linear/<variant>/...: gated units, whole modules of a width of 512. Their crossovers are beside
/// softmax attention of the same heads and channels, of a whole module beside attention of 8 heads
/// between its four projections. The gated attention unit has none: its time is quadratic, too.
#include "support/linear_cases.hpp"
#include <weft/attention/linear/dual_gated.hpp>
#include <weft/attention/linear/gated_unit.hpp>
#include <weft/attention/linear/joint_attention.hpp>
#include <weft/attention/softmax/mixer.hpp>

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
  const auto make = [=](Index n, const Context& context) {
    return [=, copies = bench::uniform<float>({4, 1, n, kShared}),
            v = bench::uniform<float>({1, n, values}), out = Tensor<float, 3>({1, n, values}),
            &context]() mutable {
      const auto copy = [&](Index i) { return copies.view().select(0, i); };
      forward(mixer, copy(0), copy(2), copy(1), copy(3), v, out, context);
      if (!gates) return;
      const auto half = [&](auto& x, Index i) {
        return x.view().slice(2, i * values / 2, values / 2);
      };
      triple_gate(half(out, 0), half(out, 1), half(v, 0), half(v, 1), half(out, 0), context);
    };
  };
  row(name, static_cast<double>(mixer.group * (kShared + values) + 2 * kShared * values))
      .add([=](const Context& context) { return make(kTokens, context); });
  bench::add_crossover(name, {1, kShared, values, false}, [=](Index n, const Context& context) {
    return bench::shared_call(make(n, context));
  });
}

/// Softmax attention of 8 heads, its projections of q, k, v at once and of the result.
bench::Call softmax_module(Index n, const Context& context) {
  constexpr Index heads = 8, dim = kChannels / heads;
  return bench::shared_call(
      [in = dense(3 * kChannels, kChannels), back = dense(kChannels, kChannels),
       x = bench::uniform<float>({n, kChannels}), qkv = Tensor<float, 2>({n, 3 * kChannels}),
       mixed = Tensor<float, 2>({n, kChannels}), y = Tensor<float, 2>({n, kChannels}), n,
       &context]() mutable {
        in.apply(std::as_const(x).view(), qkv.view(), context);
        const auto part = [&](Index i) {
          return View<const float, 4>(qkv.data() + i * kChannels, {1, heads, n, dim},
                                      {0, dim, 3 * kChannels, 1});
        };
        const View<float, 4> to(mixed.data(), {1, heads, n, dim}, {0, dim, kChannels, 1});
        forward(Softmax{}, part(0), part(1), part(2), to, context);
        back.apply(std::as_const(mixed).view(), y.view(), context);
      });
}

void add_dual() {
  constexpr Index hidden = kChannels / 4, head = 64;
  const auto make = [](Index n, const Context& context) {
    const Index columns = n / kRows;
    const auto taps = bench::uniform<float>({kChannels, 3, 3}, 4);
    struct Parts {
      AxialRope<float> rope;
      DepthwiseConv<float> conv;
    };
    auto parts = std::make_shared<Parts>(Parts{fit_rope<float>(kChannels, std::max(kRows, columns)),
                                               DepthwiseConv<float>(taps.view())});
    DualGatedAttention<> mixer{kChannels / head,
                               dense(2 * kChannels, kChannels),
                               dense(hidden, kChannels),
                               dense(kChannels, hidden),
                               &parts->rope,
                               &parts->conv};
    return [mixer = std::move(mixer), parts = std::move(parts),
            x = bench::uniform<float>({1, kRows, columns, kChannels}),
            y = Tensor<float, 4>({1, kRows, columns, kChannels}),
            &context]() mutable { forward(mixer, x, y, context); };
  };
  row("linear/herseg_dla",
      2.0 * kChannels * kChannels + 2.0 * kChannels * hidden + 2.0 * kChannels * head)
      .add([=](const Context& context) { return make(kTokens, context); });
  bench::add_crossover(
      "linear/herseg_dla", {kChannels / head, head, head, false},
      [=](Index n, const Context& context) { return bench::shared_call(make(n, context)); },
      softmax_module, {64, 128, 256, 512, 1024, 2048, 4096});
}

const bench::Rows rows([] {
  add_unit();
  add_joint("linear/flash", kValues, false);
  add_joint("linear/mossformer", 2 * kValues, true);
  add_dual();
});

}  // namespace
