/// linear/<variant>/...: linear attention by its feature maps, one shape; and softmax of that
/// shape.
#include "support/linear_cases.hpp"
#include "support/softmax_cases.hpp"
#include <weft/attention/linear/cosine_feature.hpp>
#include <weft/attention/linear/norm_attention.hpp>
#include <weft/attention/linear/polynomial_feature.hpp>
#include <weft/attention/linear/projected_feature.hpp>
#include <weft/attention/softmax/block_diagonal.hpp>
#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/layer/heads.hpp>

namespace {

using bench::Index;
using bench::LinearCase;
using namespace weft;

template <class F>
auto divided(F map, double eps = 1e-6) {
  return LinearAttention{map, NoDecay{}, Additive{}, PlusEpsilon{eps}};
}

/// A map with learned weights of F rows.
template <template <class> class Map>
void add_learned(const char* name, Index features) {
  const LinearCase c{name};
  bench::add_linear(
      c,
      [=](const LinearCase&) {
        const auto w = bench::uniform<float>({c.heads, features, c.key_dim}, 4);
        return FeatureWeights<float>(w.view(), {}, 0.125);
      },
      [](auto& in, const auto& weights, const Context& context) {
        forward(divided(Map<float>(weights)), in.q, in.k, in.v, in.out, context);
      });
}

/// Features grow with the square of D: these maps are used with few channels.
LinearCase narrow(const char* name) { return {.name = name, .key_dim = 16}; }

void add_norm_attention() {
  const LinearCase c{"linear/transnormer"};
  bench::add_linear(
      c, [](const LinearCase&) { return 0; },
      [c](auto& in, int, const Context& context) {
        const NormAttention mixer{LinearAttention{EluPlusOne{}}, SimpleRmsNorm<float>{}};
        const View<float, 3> tokens(in.out.data(), {1, in.out.extent(2), c.heads * c.value_dim});
        forward(mixer, in.q, in.k, in.v, heads_of_tokens(tokens, c.heads), context);
      });
}

const bench::Rows rows([] {
  bench::add_linear({"linear/linear_transformer"}, divided(EluPlusOne{}));
  bench::add_linear({"linear/cosformer"},
                    LinearAttention{CosineFeatures{4096}, NoDecay{}, Additive{}, AtLeastEpsilon{}});
  add_learned<Hedgehog>("linear/hedgehog", 32);
  add_learned<T2R>("linear/t2r", 64);
  bench::add_linear(narrow("linear/taylor"), divided(Taylor{}, 1e-12));
  bench::add_linear(narrow("linear/polynomial"), divided(Polynomial{2}));
  bench::add_linear({.name = "linear/dpfp", .key_dim = 32}, divided(Dpfp{1}));
  {
    const LinearCase c = narrow("linear/rebased");
    bench::add_linear(
        c, [=](const LinearCase&) { return bench::uniform<float>({c.key_dim}, 4); },
        [](auto& in, const auto& affine, const Context& context) {
          forward(divided(ReBased<>{affine, affine}), in.q, in.k, in.v, in.out, context);
        });
  }
  add_norm_attention();
  bench::add_linear({"linear/diag_attention"},
                    Softmax{And{BlockDiagonal{64}, Causal{Align::bottom_right}}, NoScore{},
                            ReluWeights<1>{Count::one}});
  const LinearCase same{.name = "softmax/causal", .stands_for = bench::StandsFor::nothing};
  bench::add_linear(same, Softmax{Causal{Align::bottom_right}});
});

}  // namespace
