/// linear/<variant>/...: linear attention of images; N tokens of a map of 32 columns.
#include "support/linear_cases.hpp"
#include <weft/attention/linear/focused.hpp>
#include <weft/attention/linear/inline_attention.hpp>
#include <weft/attention/linear/simplified.hpp>
#include <weft/attention/linear/spectral.hpp>
#include <weft/layer/rep_batch_norm.hpp>

namespace {

using bench::Index;
using bench::LinearCase;
using namespace weft;

constexpr Index kHeads = 16, kColumns = 32, kChannels = kHeads * 64;

/// What the mixers of maps [1, rows, columns, C] learn.
struct Learned {
  explicit Learned(Index tokens) : position(bench::uniform<float>({tokens, kChannels}, 4)) {}

  Tensor<float, 2> position;
  Tensor<float, 1> scale = bench::uniform<float>({kChannels}, 5);
  DepthwiseConv<float> conv = shared_by_heads<float>(
      bench::uniform<float>({kChannels / kHeads, 5, 5}, 6).view(), {}, kHeads);
};

template <class MakeMixer>
void add_map(const char* name, MakeMixer mixer) {
  bench::add_linear(
      LinearCase{.name = name, .stands_for = bench::StandsFor::full},
      [](const LinearCase& c) { return Learned(c.length); },
      [mixer](auto& in, const Learned& learned, const Context& context) {
        const auto map = [](auto& x) {
          return View<float, 4>(x.data(), {1, x.extent(2) / kColumns, kColumns, kChannels});
        };
        forward(mixer(learned), map(in.q), map(in.k), map(in.v), map(in.out), context);
      });
}

const bench::Rows rows([] {
  add_map("linear/slab_sla", [](const Learned& l) {
    return SimplifiedAttention<float>{kHeads, l.position, &l.conv};
  });
  add_map("linear/flatten_focused", [](const Learned& l) {
    return FocusedAttention<float>{kHeads, l.position, l.scale, &l.conv};
  });
  bench::add_linear({.name = "linear/inline_attention", .stands_for = bench::StandsFor::full},
                    InLine{Identity{}});
  bench::add_linear(
      LinearCase{.name = "linear/essa", .stands_for = bench::StandsFor::full},
      [](const LinearCase&) { return 0; },
      [](auto& in, int, const Context& context) {
        const auto batch = [](auto& x) { return x.view().select(0, 0); };
        forward(SpectralAttention{}, batch(in.q), batch(in.k), batch(in.v), batch(in.out), context);
      });
  bench::Row{.name = "layer/prep_bn/forward/f32/rows=1024/cols=1024",
             .bytes = 8. * 1024 * 1024,
             .floor = bench::Floor::read}
      .add([](const Context& context) {
        const auto p = bench::uniform<float>({1024}, 2);
        Tensor<float, 1> ones({1024});
        std::fill_n(ones.data(), ones.size(), 1.f);
        return [x = bench::uniform<float>({1024, 1024}), y = Tensor<float, 2>({1024, 1024}),
                affine = ChannelAffine<float>(RepBatchNorm<float>{p, p, p, ones}),
                &context]() mutable { apply_affine(affine, x, y, context); };
      });
});

}  // namespace
