/// kernelized/<variant>/...: attention by features, landmarks, projections and latents, in time
/// that grows more slowly than with the square of the length. Softmax attention of the same shape
/// is softmax/full/forward/f32/B=1/H=8/N=.../D=64.
#include "support/inputs.hpp"
#include "support/lengths.hpp"
#include "support/row.hpp"
#include <weft/attention/kernelized/combiner.hpp>
#include <weft/attention/kernelized/fit.hpp>
#include <weft/attention/kernelized/informer.hpp>
#include <weft/attention/kernelized/informer_distil.hpp>
#include <weft/attention/kernelized/linformer.hpp>
#include <weft/attention/kernelized/luna.hpp>
#include <weft/attention/kernelized/mdta.hpp>
#include <weft/attention/kernelized/nystromformer.hpp>
#include <weft/attention/kernelized/relative_fft.hpp>
#include <weft/attention/kernelized/soft.hpp>
#include <weft/attention/kernelized/synthesizer.hpp>
#include <weft/attention/softmax/mixer.hpp>

#include <cmath>
#include <string>

namespace {

using bench::Index;
using bench::uniform;
using weft::Context;

constexpr Index kHeads = 8, kDim = 64;

using Keys = std::initializer_list<std::pair<std::string_view, Index>>;

bench::Row kernelized_row(const char* variant, Keys sizes, double flops) {
  return {.name = bench::row_name(std::string("kernelized/") + variant + "/forward/f32", sizes),
          .flops = flops};
}

weft::Tensor<float, 4> tokens(Index count, std::uint64_t seed, Index channels = kDim,
                              Index heads = kHeads) {
  return uniform<float>({1, heads, count, channels}, seed);
}

/// Both transforms of every channel counted as 5 L log2 L.
void add_toeplitz(Index N, weft::ToeplitzMethod method, const char* name) {
  constexpr Index C = 64;
  const double L = 2 * static_cast<double>(N);
  const bool direct = method == weft::ToeplitzMethod::direct;
  const double flops = direct ? 2.0 * static_cast<double>(N * N * C) : 5 * L * std::log2(L) * C;
  bench::Row{.name = bench::row_name(std::string("kernelized/toeplitz/") + name + "/f32",
                                     {{"N", N}, {"C", C}}),
             .flops = flops,
             .bytes = 8.0 * static_cast<double>(N * C)}
      .add([N, method](const Context& context) {
        const auto c = uniform<float>({1, 2 * N - 1});
        return [&context, matrix = weft::Toeplitz<float>(c, method), x = uniform<float>({N, C}, 2),
                y = uniform<float>({N, C}, 3)]() mutable {
          matrix.multiply(0, std::as_const(x).view(), y.view(), context);
        };
      });
}

void add_relative(Index N, Index m, weft::RelativeMethod method, const char* name) {
  constexpr Index heads = 1;
  const double pairs = 2.0 * heads * static_cast<double>(N * N * (m + kDim));
  bench::Row row =
      kernelized_row("relative_fft", {{"H", heads}, {"N", N}, {"D", kDim}, {"m", m}}, pairs);
  row.name += std::string("/") + name;
  const auto make = [=](Index n, const Context& context) {
    auto w = uniform<float>({m, kDim}, 5);
    weft::RelativeKernel<float> mixer(w.view(), uniform<float>({heads, 2 * n - 1}, 6),
                                      {false, true, method});
    return [&context, q = tokens(n, 1, kDim, heads), k = tokens(n, 2, kDim, heads),
            v = tokens(n, 3, kDim, heads), out = tokens(n, 4, kDim, heads), w = std::move(w),
            mixer = std::move(mixer)]() mutable { forward(mixer, q, k, v, out, context); };
  };
  row.add([=](const Context& context) { return make(N, context); });
  if (N != 1024 || method != weft::RelativeMethod::fft) return;
  bench::add_crossover(
      "kernelized/relative_fft", {heads, kDim, kDim, false},
      [=](Index n, const Context& context) { return bench::shared_call(make(n, context)); });
}

/// Adds the row, a call of which is make(N, context); and at one of its lengths the row that asks
/// from which length on the mixer is faster than softmax attention. Lengths are squares, which all
/// mixers here can take.
template <class Make>
void add_with_crossover(const bench::Row& row, const std::string& variant, Index N, Make make,
                        const std::vector<Index>& lengths = {64, 256, 1024, 4096}) {
  row.add([=](const Context& context) { return make(N, context); });
  if (N != 1024) return;
  bench::add_crossover(
      "kernelized/" + variant, {kHeads, kDim, kDim, false},
      [=](Index length, const Context& context) {
        return bench::shared_call(make(length, context));
      },
      lengths);
}

/// Operations of attention of `queries` to `keys` tokens.
double attention_flops(Index queries, Index keys) {
  return 4.0 * kHeads * kDim * static_cast<double>(queries) * static_cast<double>(keys);
}

/// softmax/full of the shape that the rows below replace.
void add_softmax(Index N) {
  bench::Row{.name = bench::row_name("kernelized/softmax/forward/f32", {{"N", N}, {"D", kDim}}),
             .flops = attention_flops(N, N)}
      .add([N](const Context& context) {
        return [&context, q = tokens(N, 1), k = tokens(N, 2), v = tokens(N, 3),
                out = tokens(N, 4)]() mutable { forward(weft::Softmax{}, q, k, v, out, context); };
      });
}

void add_projections(Index N, Index R) {
  const double flops = attention_flops(R, N) + attention_flops(N, R);
  add_with_crossover(kernelized_row("linformer", {{"N", N}, {"D", kDim}, {"R", R}}, flops),
                     "linformer", N, [R](Index n, const Context& context) {
                       return
                           [&context, q = tokens(n, 1), k = tokens(n, 2), v = tokens(n, 3),
                            out = tokens(n, 4), e = uniform<float>({kHeads, R, n}, 5)]() mutable {
                             const auto table = std::as_const(e).view();
                             forward(weft::Linformer<float>{table, table}, q, k, v, out, context);
                           };
                     });
  add_with_crossover(kernelized_row("luna", {{"N", N}, {"D", kDim}, {"m", R}}, flops), "luna", N,
                     [R](Index n, const Context& context) {
                       return [&context, q = tokens(n, 1), k = tokens(n, 2), v = tokens(n, 3),
                               out = tokens(n, 4), latents = tokens(R, 5),
                               packed = tokens(R, 6)]() mutable {
                         forward(weft::Luna{}, latents, q, k, v, packed, out, context);
                       };
                     });
}

Index side_of(Index square) {
  return static_cast<Index>(std::lround(std::sqrt(static_cast<double>(square))));
}

/// 64 landmarks, the means of as many stretches or square patches of the tokens. Six iterations are
/// 24 products of m x m, twenty of Newton's 40.
void add_landmarks(Index side) {
  constexpr Index m = 64;
  const Index N = side * side;
  const double cube = 2.0 * kHeads * static_cast<double>(m * m * m);
  add_with_crossover(kernelized_row("nystromformer", {{"N", N}, {"D", kDim}, {"m", m}},
                                    2 * attention_flops(N, m) + 24 * cube),
                     "nystromformer", N,
                     [](Index n, const Context& context) {
                       return [&context, q = tokens(n, 1), k = tokens(n, 2), v = tokens(n, 3),
                               out = tokens(n, 4)]() mutable {
                         forward(weft::Nystromformer<float>{m}, q, k, v, out, context);
                       };
                     },
                     {256, 1024, 4096});  // 64 tokens are their own landmarks
  add_with_crossover(
      kernelized_row("soft", {{"N", N}, {"D", kDim}, {"n", m}},
                     2 * attention_flops(N, m) +
                         2.0 * kHeads * static_cast<double>(N * kDim * kDim) + 40 * cube),
      "soft", N, [](Index n, const Context& context) {
        const Index width = side_of(n), patch = width / 8;
        return [&context, width, q = tokens(n, 1), v = tokens(n, 3), out = tokens(n, 4),
                landmark = uniform<float>({kDim, kDim, patch, patch}, 5)]() mutable {
          forward(weft::Soft<float>{width, width, std::as_const(landmark).view()}, q, v, out,
                  context);
        };
      });
}

void add_channels(Index N) {
  const double flops = 4.0 * kHeads * kDim * kDim * static_cast<double>(N);
  add_with_crossover(kernelized_row("mdta", {{"n", N}, {"C", kHeads * kDim}}, flops), "mdta", N,
                     [](Index n, const Context& context) {
                       const auto channels = [n](std::uint64_t seed) {
                         return uniform<float>({1, kHeads, kDim, n}, seed);
                       };
                       return [&context, q = channels(1), k = channels(2), v = channels(3),
                               out = channels(4),
                               temperature = uniform<float>({kHeads}, 5)]() mutable {
                         const weft::Mdta<float> mixer{std::as_const(temperature).view()};
                         forward(mixer, q, k, v, out, context);
                       };
                     });
}

void add_informer(Index N) {
  const Index u = weft::prob_sparse_count(N);
  add_with_crossover(
      kernelized_row("informer_probsparse", {{"N", N}, {"D", kDim}, {"u", u}},
                     attention_flops(N, u) / 2 + attention_flops(u, N)),
      "informer_probsparse", N, [](Index n, const Context& context) {
        weft::Philox random(1);
        const Index few = weft::prob_sparse_count(n);
        return
            [&context, few, q = tokens(n, 1), k = tokens(n, 2), v = tokens(n, 3),
             out = tokens(n, 4), samples = weft::prob_sparse_samples(random, n, n, few)]() mutable {
              forward(weft::ProbSparse{std::as_const(samples).view(), few}, q, k, v, out, context);
            };
      });
  constexpr Index C = kHeads * kDim;
  kernelized_row("informer_distil", {{"N", N}, {"C", C}}, 6.0 * static_cast<double>(N * C * C))
      .add([=](const Context& context) {
        return [&context, x = uniform<float>({1, N, C}, 1), w = uniform<float>({C, C, 3}, 2),
                p = uniform<float>({C}, 3), variance = weft::Tensor<float, 1>({C}),
                out = uniform<float>({1, N / 2, C}, 4)]() mutable {
          const weft::View<const float, 1> one = p.view(), zero = variance.view();
          const weft::InformerDistil<float> layer{
              std::as_const(w).view(), one, one, one, one, zero};
          forward(layer, x, out, context);
        };
      });
}

void add_synthesizer(Index N) {
  const double flops = attention_flops(N, N);
  kernelized_row("synthesizer", {{"N", N}, {"D", kDim}, {"hidden", kDim}}, flops)
      .add([=](const Context& context) {
        return [&context, x = tokens(N, 1), v = tokens(N, 2), out = tokens(N, 3),
                w1 = uniform<float>({kHeads, kDim, kDim}, 4),
                b1 = uniform<float>({kHeads, kDim}, 5), w2 = uniform<float>({kHeads, N, kDim}, 6),
                b2 = uniform<float>({kHeads, N}, 7)]() mutable {
          const weft::SynthesizerDense<float> dense{w1.view(), b1.view(), w2.view(), b2.view()};
          forward(dense, x, v, out, context);
        };
      });
}

/// `mixer(side)` is the one for side^2 tokens.
template <class MakeMixer>
void add_combiner(Index N, const char* form, MakeMixer mixer, double pairs) {
  bench::Row row =
      kernelized_row("combiner", {{"N", N}, {"D", kDim}}, attention_flops(1, 1) * pairs);
  row.name += std::string("/") + form;
  add_with_crossover(
      row, std::string("combiner_") + form, N, [mixer](Index n, const Context& context) {
        return [&context, own = mixer(side_of(n)), q = tokens(n, 1), k = tokens(n, 2),
                v = tokens(n, 3),
                out = tokens(n, 4)]() mutable { forward(own, q, k, v, out, context); };
      });
}

/// Pairs: of a token and what it attends to, and of a span and its tokens.
void add_spans(Index side) {
  const Index N = side * side;
  const double n = static_cast<double>(N), w = static_cast<double>(side);
  add_combiner(
      N, "fixed", [](Index s) { return weft::CombinerFixed{s}; }, n * w + n);
  add_combiner(
      N, "log_sparse", [](Index) { return weft::CombinerLogSparse{}; }, 1.5 * n * std::log2(n));
  add_combiner(
      N, "axial", [](Index s) { return weft::CombinerAxial<float>{s}; }, 2 * n * w);
  add_combiner(
      N, "mixture", [](Index s) { return weft::CombinerMixture{s}; }, 5 * n * w);
}

/// Groups of n tokens and m latents. As many tokens are softmax attention's at the crossover.
void add_fit(Index groups, Index n, Index m) {
  const double all = attention_flops(groups * n, n) + 2 * attention_flops(groups * n, m) +
                     attention_flops(groups * m, groups * m);
  const auto make = [n, m](Index count, const Context& context) {
    return [&context, count, first_x = tokens(count * n, 1), first_z = tokens(count * m, 2),
            x = tokens(count * n, 1), z = tokens(count * m, 2)]() mutable {
      // The block works in place: begin with the same inputs again.
      std::copy_n(first_x.data(), x.size(), x.data());
      std::copy_n(first_z.data(), z.size(), z.data());
      forward(weft::FitBlock{count}, x, z, context);
    };
  };
  kernelized_row("fit", {{"T", groups}, {"n", n}, {"m", m}, {"D", kDim}}, all)
      .add([=](const Context& context) { return make(groups, context); });
  bench::add_crossover("kernelized/fit", {kHeads, kDim, kDim, false},
                       [=](Index length, const Context& context) {
                         return bench::shared_call(make(length / n, context));
                       },
                       {256, 512, 1024, 2048, 4096});
}

const bench::Rows rows([] {
  using Method = weft::ToeplitzMethod;
  for (const Index N : {16, 32, 64, 1024}) add_toeplitz(N, Method::direct, "direct");
  for (const Index N : {16, 32, 64, 1024, 16384, 65536}) add_toeplitz(N, Method::fft, "multiply");
  using Relative = weft::RelativeMethod;
  for (const Index N : {1024, 4096}) add_relative(N, 16, Relative::direct, "direct");
  for (const Index N : {1024, 4096}) add_relative(N, 16, Relative::fft, "fft");
  for (const Index N : {1024, 4096}) {
    add_softmax(N);
    add_projections(N, 256);
    add_channels(N);
    add_informer(N);
  }
  for (const Index side : {32, 64}) add_landmarks(side);
  add_synthesizer(1024);
  for (const Index side : {32, 64}) add_spans(side);
  add_fit(16, 256, 64);
});

}  // namespace
