/// kernelized/<variant>/...: random features and binary codes at a length where they matter, and
/// softmax of that length.
#include "support/linear_cases.hpp"
#include <weft/attention/kernelized/ecoformer.hpp>
#include <weft/attention/kernelized/kernel_hash.hpp>
#include <weft/attention/kernelized/performer.hpp>
#include <weft/attention/kernelized/random_features.hpp>
#include <weft/attention/softmax/mixer.hpp>

namespace {

using bench::Index;
using bench::LinearCase;
using namespace weft;

constexpr Index kFeatures = 256, kBits = 16, kAnchors = 25;

void add_performer(Index length, Index heads) {
  const LinearCase c{.name = "kernelized/performer",
                     .length = length,
                     .heads = heads,
                     .stands_for = bench::StandsFor::full};
  bench::add_linear(
      c,
      [=](const LinearCase&) {
        return favor_weights<float>(orthogonal_projection(kFeatures, c.key_dim, 1).view());
      },
      [](auto& in, const auto& weights, const Context& context) {
        forward(Performer{weights, Order::bidirectional}, in.q, in.k, in.v, in.out, context);
      });
}

void add_ecoformer(Index length, Index heads) {
  const LinearCase c{.name = "kernelized/ecoformer",
                     .length = length,
                     .heads = heads,
                     .stands_for = bench::StandsFor::full};
  bench::add_linear(
      c,
      [=](const LinearCase&) {
        const auto a = bench::uniform<float>({heads, kBits, kAnchors}, 4);
        const auto anchors = bench::uniform<float>({heads, kAnchors, c.key_dim}, 5);
        const auto mean = bench::uniform<float>({heads, kAnchors}, 6);
        return KernelHash<float>(a, anchors, mean);
      },
      [](auto& in, const auto& hash, const Context& context) {
        const BitCodes codes = hash(in.q, context);
        forward(EcoFormer{}, codes, codes, in.v, in.out, context);
      });
}

const bench::Rows rows([] {
  for (const auto& [length, heads] : {std::pair<Index, Index>{1024, 16}, {16384, 1}}) {
    add_performer(length, heads);
    add_ecoformer(length, heads);
  }
  bench::add_linear({.name = "softmax/full",
                     .length = 16384,
                     .heads = 1,
                     .stands_for = bench::StandsFor::nothing},
                    Softmax{});
});

}  // namespace
