#include "golden/attention.hpp"
#include "golden/projection.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax/gaussian_mixture.hpp>
#include <weft/attention/softmax/lepe.hpp>
#include <weft/attention/softmax/logit_factor.hpp>
#include <weft/attention/softmax/manhattan.hpp>
#include <weft/position/conditional.hpp>
#include <weft/position/rope.hpp>

#include <cstdio>

// softmax/gaussian_mixture_mask, softmax/rmt_masa, softmax/lepe_cpe

namespace golden {
namespace {

using namespace weft;

// --- Masks that multiply

/// The mask that attention would see: the table's value of every pair of tokens.
template <class T>
Tensor<T, 3> full_mask(const Tensor<T, 3>& table, Index tokens) {
  Tensor<T, 3> mask({table.extent(0), tokens, tokens});
  const GridFactor<T> score(table.view());
  for (Index h = 0; h < table.extent(0); ++h)
    for (Index i = 0; i < tokens; ++i)
      for (Index j = 0; j < tokens; ++j)
        mask(h, i, j) = score(Vec<T>(T(1)), Row{0, h, i, tokens, tokens}, j).get(0);
  return mask;
}

template <class T>
void run_mixture_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto alpha = file.read<T, 2>(name + ".alpha"), sigma = file.read<T, 2>(name + ".sigma");
  const Index tokens = in.q.extent(2);
  const auto side = static_cast<Index>(std::lround(std::sqrt(static_cast<double>(tokens))));
  const auto table = gaussian_mixture_table(alpha.view(), sigma.view(), side, side);
  c.compare("mask", full_mask(table, tokens), file.read<double, 3>(name + ".mask"));
  auto out = unwritten<T, 4>(in.q.shape());
  forward(Softmax{NoMask{}, GridFactor<T>(table.view())}, in.q, in.k, in.v, out);
  c.compare("out_gmm", out, file.read<double, 4>(name + ".out_gmm"));
  const auto elm = file.read<T, 2>(name + ".elm");
  const LogitFactor<T> factor(unsqueeze(unsqueeze(elm.view())));
  forward(Softmax{NoMask{}, factor}, in.q, in.k, in.v, out);
  c.compare("out_elm", out, file.read<double, 4>(name + ".out_elm"));
}

void run_mixture(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_mixture_case<decltype(type)>(c, file, name);
  });
}

// --- RMT

/// Weights [C, 1, k, k] of a depthwise convolution as [C, k, k].
template <class T>
DepthwiseConv<T> depthwise(const SafetensorsFile& file, const std::string& name) {
  const auto weight = file.read<T, 4>(name + ".weight");
  const auto bias = file.read<T, 1>(name + ".bias");
  return DepthwiseConv<T>(weight.view().select(1, 0), bias.view());
}

/// The whole module of two heads: maps, RoPE, attention, LePE, output map.
template <class T>
void run_rmt_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  constexpr Index heads = 2;
  const auto x = file.read<T, 4>(name + ".x");
  const Index rows = x.extent(1), columns = x.extent(2), D = x.extent(3) / heads;
  double initial = 0, range = 0;
  const std::string text = metadata_of(file, "cases");
  c.require("decay",
            std::sscanf(text.c_str() + text.find('='), "= (%lf,%lf)", &initial, &range) == 2);
  const auto map = [&](const char* which) {
    return project(file, x, name + which + "_proj.weight", name + which + "_proj.bias");
  };
  auto q = map(".q"), k = map(".k"), v = map(".v");
  const RopeTable<T> turns(manhattan_frequencies(D), RopeLayout::interleaved, rows * columns);
  const auto queries = heads_of_map(q.view(), heads), keys = heads_of_map(k.view(), heads);
  apply_rope(turns, queries, queries, 0);
  apply_rope(turns, keys, keys, 0);
  const auto slopes = manhattan_slopes<T>(heads, initial, range);
  const auto conv = depthwise<T>(file, name + ".lepe.conv");
  auto mixed = unwritten<T, 4>(x.shape());
  if (name.find("chunk") != std::string::npos) {
    forward_decomposed(slopes.view(), rows, columns, queries, keys, heads_of_map(v.view(), heads),
                       heads_of_map(mixed.view(), heads));
    conv.add(v, mixed);
  } else {
    const auto table = manhattan_table<T>(slopes.view(), rows, columns);
    forward_lepe(Softmax{NoMask{}, GridBias<T>(table.view())}, conv, heads, q, k, v, mixed);
  }
  c.compare("out", project(file, mixed, name + ".out_proj.weight", name + ".out_proj.bias"),
            file.read<double, 4>(name + ".out"));
}

void run_rmt(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_rmt_case<decltype(type)>(c, file, name);
  });
}

// --- Convolutions as positions

template <class T>
void run_lepe_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);  // maps [B, rows, columns, C] of two heads
  const auto weight = file.read<T, 3>(name + ".conv_w");
  const auto bias = file.read<T, 1>(name + ".conv_b");
  const DepthwiseConv<T> conv(weight.view(), bias.view());
  auto out = unwritten<T, 4>(in.v.shape());
  conv.apply(in.v, out);
  c.compare("lepe", out, file.read<double, 4>(name + ".lepe"));
  forward_lepe(Softmax{}, conv, 2, in.q, in.k, in.v, out);
  c.compare("out_lepe", out, file.read<double, 4>(name + ".out_lepe"));
  add_conditional_position(conv, in.v, out);
  c.compare("out_cpe", out, file.read<double, 4>(name + ".out_cpe"));
}

void run_lepe(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_lepe_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"softmax/gaussian_mixture_mask", run_mixture},
    {"softmax/rmt_masa", run_rmt},
    {"softmax/lepe_cpe", run_lepe},
};

}  // namespace

std::span<const Mechanism> grid_mechanisms() { return kMechanisms; }

}  // namespace golden
