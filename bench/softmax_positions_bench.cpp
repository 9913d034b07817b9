/// softmax/<position>/...: what happens to queries and keys before attention, and attention by
/// place on a grid of 32 x 64 tokens. `of_plain` is the time over that of plain attention.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include "support/unfused_mixer.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/attention/softmax/gaussian_mixture.hpp>
#include <weft/attention/softmax/lepe.hpp>
#include <weft/attention/softmax/manhattan.hpp>
#include <weft/attention/softmax/positional.hpp>
#include <weft/attention/softmax/transformer_xl.hpp>
#include <weft/position/complex_phase.hpp>
#include <weft/position/conditional.hpp>
#include <weft/position/rope2d.hpp>
#include <weft/position/rope_time.hpp>

#include <memory>
#include <string>

namespace {

using bench::Index;
using bench::uniform;
using weft::Context;
using weft::NoMask;
using weft::Softmax;

constexpr Index kHeads = 8, kRows = 32, kColumns = 64, kTokens = kRows * kColumns, kDim = 64;

/// What one attention of all tokens costs, in multiply-adds of its two products.
constexpr double kAttention = 4.0 * kHeads * kTokens * kTokens * kDim;

bench::Row row(const char* variant, double flops = 0) {
  return {.name = bench::row_name(std::string("softmax/") + variant + "/forward/f32",
                                  {{"H", kHeads}, {"N", kTokens}, {"D", kDim}}),
          .flops = flops,
          .bytes = flops == 0 ? 8.0 * kHeads * kTokens * kDim : 0,
          .floor = flops == 0 ? bench::Floor::read : bench::Floor::fma_f32};
}

struct Tokens {
  weft::Tensor<float, 4> q = uniform<float>({1, kHeads, kTokens, kDim}, 1);
  weft::Tensor<float, 4> k = uniform<float>({1, kHeads, kTokens, kDim}, 2);
  weft::Tensor<float, 4> v = uniform<float>({1, kHeads, kTokens, kDim}, 3);
  weft::Tensor<float, 4> out{{1, kHeads, kTokens, kDim}};

  template <class Mixer>
  void attend(const Mixer& mixer, const Context& context) {
    weft::forward(mixer, q, k, v, out, context);
  }
};

/// `f(tokens, context)` beside plain attention of the same tokens under `mask`.
template <class F, class M = NoMask>
auto beside_plain(F f, const Context& context, const M& mask = {}) {
  const auto tokens = std::make_shared<Tokens>();
  return bench::Versus{[=, &context]() mutable { f(*tokens, context); },
                       [=, &context] { tokens->attend(Softmax{mask}, context); }};
}

/// The steps of `mixer` one after the other, for a row unfused/...; `data` is what it refers to.
template <class Mixer, class Data>
auto in_steps(const Mixer& mixer, const Data& data, const Context& context) {
  return [&context, data, t = Tokens(), steps = bench::UnfusedMixer(mixer)]() mutable {
    steps(t.q.view(), t.k.view(), t.v.view(), t.out.view(), context);
  };
}

/// A row that turns q into out.
void add_rope2d(const char* variant, weft::AxialRope<float> (*rope)(Index, Index, double)) {
  row(variant).add([=](const Context& context) {
    return [&context, t = Tokens(), turns = rope(kDim, kColumns, 1e4),
            at = weft::grid_positions(kRows, kColumns)]() mutable {
      weft::apply_rope2d(turns, t.q, t.out, std::as_const(at.y).view(), std::as_const(at.x).view(),
                         context);
    };
  });
}

/// What the calls of a row share with the copies of themselves.
template <class T>
std::shared_ptr<const T> shared(T&& x) {
  return std::make_shared<const T>(std::move(x));
}

/// Of a line that is written, memory is read first: 2/3 of the speed of reading is the most that is
/// to be had where the caches do not hold q and out. cmha computes an arctangent, a sine and a
/// cosine per pair of channels, which takes longer than memory does.
void add_rotations() {
  add_rope2d("rope2d_croco",
             [](Index D, Index extent, double) { return weft::croco_rope(D, extent); });
  add_rope2d("rope2d_fit",
             [](Index D, Index extent, double theta) { return weft::fit_rope(D, extent, theta); });
  add_rope2d("rope2d_sam2",
             [](Index D, Index extent, double theta) { return weft::sam2_rope(D, extent, theta); });
  row("time_rope").add([](const Context& context) {
    return [&context, t = Tokens(),
            rope = weft::TimeRope<float>(weft::rope_frequencies(kDim), weft::RopeLayout::half,
                                         uniform<double>({1, kTokens}, 4).view(),
                                         uniform<double>({1}, 5).view())]() mutable {
      rope.apply(t.q, t.out, context);
    };
  });
  row("cmha").add([](const Context& context) {
    return [&context, t = Tokens(), delta = uniform<float>({kHeads, kDim / 2}, 4),
            b = uniform<float>({kHeads, kDim / 2}, 5),
            table = weft::RopeTable<float>(weft::rope_frequencies(kDim), weft::RopeLayout::half,
                                           kTokens)]() mutable {
      weft::apply_complex_phase(table, delta, b, t.q, t.out, 0, context);
    };
  });
}

/// Attention with a score that reads a table, beside plain attention, and the same in steps.
template <class MakeTable, class MakeMixer>
void add_table(const char* variant, MakeTable make_table, MakeMixer make_mixer) {
  row(variant, kAttention).add([=](const Context& context) {
    const auto table = shared(make_table());
    return beside_plain(
        [=](Tokens& t, const Context& c) { t.attend(make_mixer(table->view()), c); }, context);
  });
  row(variant, kAttention).by("unfused").add([=](const Context& context) {
    const auto table = shared(make_table());
    return in_steps(make_mixer(table->view()), table, context);
  });
}

void add_grids() {
  using Table = weft::View<const float, 3>;
  const auto slopes = [] { return weft::manhattan_slopes<float>(kHeads); };
  add_table(
      "gaussian_mixture_mask",
      [] {
        const auto alpha = uniform<float>({5, kHeads}, 4), sigma = uniform<float>({5, kHeads}, 5);
        return weft::gaussian_mixture_table(alpha.view(), sigma.view(), kRows, kColumns);
      },
      [](Table table) {
        return Softmax{NoMask{}, weft::GridFactor<float>(table)};
      });
  add_table(
      "rmt_masa", [=] { return weft::manhattan_table<float>(slopes().view(), kRows, kColumns); },
      [](Table table) {
        return Softmax{NoMask{}, weft::GridBias<float>(table)};
      });
  row("rmt_decay", kAttention).add([=](const Context& context) {
    const auto table = shared(weft::manhattan_decay<float>(slopes().view(), kRows, kColumns));
    return beside_plain(
        [=](Tokens& t, const Context& c) {
          t.attend(Softmax{NoMask{}, weft::WeightFactor{weft::GridFactor<float>(table->view())}},
                   c);
        },
        context);
  });
  row("rmt_masa_decomposed", kAttention * (kRows + kColumns) / kTokens)
      .add([=](const Context& context) {
        return [&context, t = Tokens(), steep = slopes()]() mutable {
          weft::forward_decomposed(steep.view(), kRows, kColumns, t.q, t.k, t.v, t.out, context);
        };
      });
}

void add_convolutions() {
  const auto map = [](std::uint64_t seed) {
    return uniform<float>({1, kRows, kColumns, kHeads * kDim}, seed);
  };
  const auto conv = [] {
    return weft::DepthwiseConv<float>(uniform<float>({kHeads * kDim, 3, 3}, 4).view());
  };
  constexpr double taps = 2.0 * 9 * kTokens * kHeads * kDim;
  row("lepe", kAttention + taps).add([=](const Context& context) {
    return [&context, kernel = conv(), q = map(1), k = map(2), v = map(3), out = map(4)]() mutable {
      weft::forward_lepe(Softmax{}, kernel, kHeads, q, k, v, out, context);
    };
  });
  bench::Row cpe = row("cpe");  // 18 operations for 8 bytes: memory is the floor
  cpe.flops = taps;
  cpe.add([=](const Context& context) {
    return [&context, kernel = conv(), x = map(1), y = map(2)]() mutable {
      weft::add_conditional_position(kernel, x, y, context);
    };
  });
}

/// Transformer-XL in steps: head by head the products with all distances, then those with the keys
/// to which they are added.
class UnfusedXl {
 public:
  void operator()(Tokens& t, const Context& context) {
    const weft::Arena::Frame frame(context.arena());
    const std::array<Index, 4> one{1, 1, kTokens, kDim};
    const weft::View<float, 2> shifted(context.arena().take<float>(kTokens * kDim),
                                       {kTokens, kDim});
    const weft::View<float, 2> products = products_.view().slice(1, 0, kTokens);
    for (Index h = 0; h < kHeads; ++h) {
      const auto head = [&](auto& x) { return x.view().slice(1, h, 1); };
      add_bias(t.q.view().select(0, 0).select(0, h), position_.view().pointer(h), shifted);
      weft::gemm(shifted, r_.view().select(0, h).transpose(0, 1), products, context);
      add_bias(t.q.view().select(0, 0).select(0, h), content_.view().pointer(h), shifted);
      steps_(weft::View<const float, 4>(shifted.data(), one), head(t.k), head(t.v), head(t.out),
             context);
    }
  }

 private:
  using Shifted = weft::detail::ShiftedBias<float>;

  static void add_bias(const weft::View<float, 2>& q, const float* bias,
                       const weft::View<float, 2>& to) {
    for (Index i = 0; i < kTokens; ++i)
      for (Index d = 0; d < kDim; ++d) to(i, d) = q(i, d) + bias[d];
  }

  weft::Tensor<float, 3> r_ = uniform<float>({kHeads, kTokens, kDim}, 4);
  weft::Tensor<float, 2> content_ = uniform<float>({kHeads, kDim}, 5);
  weft::Tensor<float, 2> position_ = uniform<float>({kHeads, kDim}, 6);
  weft::Tensor<float, 2> products_{{kTokens, 2 * kTokens}};  // zero for keys after a query
  bench::UnfusedMixer<weft::Softmax<weft::Window, Shifted>> steps_{
      weft::Softmax{weft::Window{-1, 0}, Shifted{products_.data() + kTokens - 1, 0, 2 * kTokens}}};
};

void add_products() {
  // Half of all pairs, and three products for two: 1.5 of plain causal attention is the floor of
  // the arithmetic. A tile of 24 queries and 256 keys has 279 distances, which costs 1/20 more.
  row("transformer_xl", kAttention * 3 / 4).add([](const Context& context) {
    const auto r = shared(uniform<float>({kHeads, kTokens, kDim}, 4));
    const auto u = shared(uniform<float>({kHeads, kDim}, 5));
    const auto w = shared(uniform<float>({kHeads, kDim}, 6));
    return beside_plain(
        [=](Tokens& t, const Context& c) {
          t.attend(weft::TransformerXl<float>{r->view(), u->view(), w->view()}, c);
        },
        context, weft::Window{-1, 0});
  });
  row("transformer_xl", kAttention * 3 / 4).by("unfused").add([](const Context& context) {
    return [&context, t = Tokens(), xl = UnfusedXl()]() mutable { xl(t, context); };
  });
  row("positional_attention", kAttention).add([](const Context& context) {
    return beside_plain(
        [](Tokens& t, const Context& c) {
          weft::forward_positional(Softmax{}, t.q.view().select(0, 0), t.k.view().select(0, 0), t.v,
                                   t.out, c);
        },
        context);
  });
}

const bench::Rows rows([] {
  add_rotations();
  add_grids();
  add_convolutions();
  add_products();
});

}  // namespace
