/// softmax/<arrangement>/...: attention of other keys, of windows, of pairs, and what stands around
/// it. Beside softmax/full of the sizes in the names.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/attention/softmax/gated_parallel.hpp>
#include <weft/attention/softmax/parameter_tokens.hpp>
#include <weft/attention/softmax/pooled_memory.hpp>
#include <weft/attention/softmax/prefix.hpp>
#include <weft/attention/softmax/styleswin.hpp>
#include <weft/attention/softmax/subset.hpp>
#include <weft/attention/softmax/tensor_attention.hpp>
#include <weft/attention/softmax/tensor_polynomial.hpp>
#include <weft/layer/cif.hpp>
#include <weft/layer/conv_reweight.hpp>

#include <memory>
#include <string>

namespace {

using bench::Index;
using bench::uniform;
using weft::Context;
using weft::Softmax;

constexpr Index kHeads = 8, kDim = 64;

using Keys = std::initializer_list<std::pair<std::string_view, Index>>;

/// A row of attention of `queries` to `keys` tokens each.
bench::Row attention_row(const char* variant, Keys sizes, Index queries, Index keys) {
  return {.name = bench::row_name(std::string("softmax/") + variant + "/forward/f32", sizes),
          .flops = 4.0 * kHeads * static_cast<double>(queries * keys) * kDim};
}

bench::Row memory_row(const char* variant, Keys sizes, double bytes) {
  return {.name = bench::row_name(std::string("softmax/") + variant + "/forward/f32", sizes),
          .bytes = bytes,
          .floor = bench::Floor::read};
}

weft::Tensor<float, 4> tokens(Index count, std::uint64_t seed, Index heads = kHeads,
                              Index channels = kDim) {
  return uniform<float>({1, heads, count, channels}, seed);
}

void add_other_keys() {
  constexpr Index N = 1024, P = 16, half = N / 2;
  attention_row("vqt_prefix", {{"N", N}, {"P", P}}, N, N + P).add([](const Context& context) {
    return [&context, q = tokens(N, 1), k = tokens(N, 2), v = tokens(N, 3), pk = tokens(P, 4),
            pv = tokens(P, 5), out = tokens(N, 6)]() mutable {
      weft::forward_prefix(Softmax{}, q, pk, pv, k, v, out, context);
    };
  });
  attention_row("ssa_subset", {{"N", N}, {"S", half}}, N, half).add([](const Context& context) {
    weft::Philox random(1);
    return [&context, q = tokens(N, 1), k = tokens(N, 2), v = tokens(N, 3), out = tokens(N, 4),
            subset = weft::draw_subset(random, N, half)]() mutable {
      weft::forward_subset(Softmax{}, q, k, v, subset.view(), out, context);
    };
  });
  constexpr Index side = 32, frames = 4, pointers = 16, grid = side * side;
  constexpr Index pooled = frames * grid / 4 + pointers;
  attention_row("efficienttam_cross_attention", {{"g", side}, {"F", frames}, {"P", pointers}}, grid,
                pooled)
      .add([](const Context& context) {
        constexpr Index all = frames * grid + pointers;
        return [&context, q = tokens(grid, 1), k = tokens(all, 2), v = tokens(all, 3),
                out = tokens(grid, 4)]() mutable {
          weft::forward(weft::PooledMemory{side, frames}, q, k, v, out, context);
        };
      });
}

/// Pattention to 4096 tokens as an operator; `of_plain` is its time over that of its two products.
void add_parameters() {
  constexpr Index N = 512, S = 4096, C = 768;
  using Dense = weft::DenseOperator<float>;
  bench::Row{
      .name = bench::row_name("softmax/pattention/operator/f32", {{"N", N}, {"S", S}, {"C", C}}),
      .flops = 4.0 * N * S * C}
      .add([](const Context& context) {
        const auto keys = uniform<float>({S, C}, 1), values = uniform<float>({C, S}, 2);
        const auto x = std::make_shared<weft::Tensor<float, 2>>(uniform<float>({N, C}, 3));
        const auto y = std::make_shared<weft::Tensor<float, 2>>(uniform<float>({N, C}, 4));
        return bench::Versus{
            [=, &context, layer = weft::ParameterTokens(Dense(keys.view()), Dense(values.view()))] {
              layer.apply(x->view(), y->view(), context);
            },
            [=, &context, up = Dense(keys.view()), down = Dense(values.view()),
             a = weft::Tensor<float, 2>({N, S})]() mutable {
              up.apply(x->view(), a.view(), context);
              down.apply(a.view(), y->view(), context);
            }};
      });
}

/// Beside plain attention of windows that lie in memory as such, which need not be gathered from a
/// map and put back: 32 bytes per channel of a token, for 4 w^2 = 256 operations.
void add_windows() {
  constexpr Index side = 64, w = 8, offsets = (2 * w - 1) * (2 * w - 1);
  attention_row("styleswin_double_attention", {{"side", side}, {"w", w}}, side * side, w * w)
      .add([](const Context& context) {
        const auto map = [](std::uint64_t seed) {
          return uniform<float>({1, side, side, kHeads * kDim}, seed);
        };
        const auto windows = [](std::uint64_t seed) {
          return uniform<float>({side / w * (side / w), kHeads, w * w, kDim}, seed);
        };
        return bench::Versus{
            [&context, q = map(1), k = map(2), v = map(3), out = map(4),
             plain = uniform<float>({offsets, kHeads / 2}, 5),
             rolled = uniform<float>({offsets, kHeads / 2}, 6)]() mutable {
              weft::forward(weft::StyleSwin<float>{w, kHeads, plain.view(), rolled.view()}, q, k, v,
                            out, context);
            },
            [&context, q = windows(1), k = windows(2), v = windows(3), out = windows(4)]() mutable {
              weft::forward(Softmax{}, q, k, v, out, context);
            }};
      });
}

/// Third-order attention of n tokens, exact and by the polynomial of degree 4.
class Pairs {
 public:
  static constexpr Index kChannels = 8, kValues = 32, kDegree = 4;

  Pairs(Index n, const Context& context)
      : q_(some(n, 1, kChannels)),
        k1_(some(n, 2, kChannels)),
        k2_(some(n, 3, kChannels)),
        v1_(some(n, 4, kValues)),
        v2_(some(n, 5, kValues)),
        out_(some(n, 6, kValues)),
        lse_({1, kHeads, n}),
        context_(context) {}

  void exact() {
    weft::forward_with_lse(weft::TensorAttention{}, std::as_const(q_).view(), k1_, k2_, v1_, v2_,
                           out_, lse_, context_);
  }
  void operator()() {
    weft::forward(weft::TensorPolynomial{kDegree}, std::as_const(q_).view(), k1_, k2_, v1_, v2_,
                  out_, context_);
  }

  /// The least multiple of 4 tokens for which the polynomial takes less time.
  void add_counters(benchmark::State& state) {
    for (Index n = 4; n <= 256; n += 4) {
      Pairs both(n, context_);
      auto whole = [&] { both.exact(); };
      both();
      const auto [polynomial, exact] = bench::least_seconds(both, whole, 1, 9);
      state.counters["beats_exact_from"] = static_cast<double>(n);
      if (polynomial < exact) return;
    }
  }

 private:
  static weft::Tensor<float, 4> some(Index n, std::uint64_t seed, Index channels) {
    return tokens(n, seed, kHeads, channels);
  }

  weft::Tensor<float, 4> q_, k1_, k2_, v1_, v2_, out_;
  weft::Tensor<float, 3> lse_;
  const Context& context_;
};

void add_pairs() {
  constexpr Index n = 96;
  attention_row("tensor_attention", {{"N", n}, {"D", kDim}}, n, n * n)
      .add([](const Context& context) {
        return [&context, q = tokens(n, 1), k1 = tokens(n, 2), k2 = tokens(n, 3), v1 = tokens(n, 4),
                v2 = tokens(n, 5), out = tokens(n, 6),
                lse = weft::Tensor<float, 3>({1, kHeads, n})]() mutable {
          weft::forward_with_lse(weft::TensorAttention{}, std::as_const(q).view(), k1, k2, v1, v2,
                                 out, lse, context);
        };
      });
  const double features =
      static_cast<double>(weft::tensor_polynomial_features(Pairs::kChannels, Pairs::kDegree));
  bench::Row row =
      attention_row("tensor_attention_polynomial",
                    {{"N", 1024}, {"D", Pairs::kChannels}, {"g", Pairs::kDegree}}, 1024, 0);
  row.flops = 3 * 2.0 * kHeads * 1024 * features * Pairs::kValues;
  row.add([](const Context& context) { return Pairs(1024, context); });
}

void add_around() {
  constexpr Index N = 1024, C = 512;
  memory_row("theme_gated_parallel", {{"N", N}, {"C", C}}, 16.0 * N * C)
      .add([](const Context& context) {
        const auto some = [](std::uint64_t seed) { return uniform<float>({1, N, C}, seed); };
        return [&context, x = some(1), self = some(2), cross = some(3), out = some(4),
                gate = weft::Tensor<std::int32_t, 2>({1, N})]() mutable {
          weft::mix_gated_parallel(weft::LayerNorm<>{}, false, std::as_const(gate).view(), x, self,
                                   cross, out, context);
        };
      });
  memory_row("contracon_reweight", {{"rows", C}, {"cols", C}, {"k", 3}}, 8.0 * C * C).add([] {
    return [weight = uniform<float>({C, C}, 1), out = uniform<float>({C, C}, 2),
            kernel = uniform<float>({kHeads, 3, 3}, 3), bias = uniform<float>({kHeads}, 4),
            skip = uniform<float>({kHeads}, 5)]() mutable {
      weft::ConvReweight<float>{kernel.view(), bias.view(), skip.view()}.apply(weight.view(),
                                                                               out.view());
    };
  });
  bench::Row row = memory_row("cif_predictor", {{"T", N}, {"C", C}, {"k", 3}}, 0);
  row.flops = 2.0 * N * C * C * 3, row.floor = bench::Floor::fma_f32;
  row.add([](const Context& context) {
    weft::Tensor<std::int32_t, 1> lens({1});
    lens(0) = N;
    return [&context, lens = std::move(lens), hidden = uniform<float>({1, N, C}, 1),
            taps = uniform<float>({C, C, 3}, 2), bias = uniform<float>({C}, 3),
            w = uniform<float>({C}, 4), alpha = weft::Tensor<double, 2>({1, N}),
            embeds = weft::Tensor<float, 2>({N, C})]() mutable {
      weft::cif_weights(weft::CifPredictor<float>{taps.view(), bias.view(), w.view()},
                        hidden.view(), lens.view(), alpha.view(), context);
      weft::CifState<float> state(C);
      weft::cif_fire(state, hidden.view().select(0, 0), std::as_const(alpha).view().select(0, 0),
                     embeds);
    };
  });
}

const bench::Rows rows([] {
  add_other_keys();
  add_parameters();
  add_windows();
  add_pairs();
  add_around();
});

}  // namespace
