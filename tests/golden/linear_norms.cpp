#include "golden/registry.hpp"
#include "golden/tokens.hpp"
#include <weft/attention/linear/norm_attention.hpp>
#include <weft/attention/softmax/block_diagonal.hpp>
#include <weft/attention/softmax/elementwise.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/layer/rep_batch_norm.hpp>

// linear/transnormer, linear/slab_prepbn

namespace golden {
namespace {

using namespace weft;

// --- TransNormer

template <class T>
void run_transnormer_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const TokenInputs<T> in(file, name);
  const Index heads = number(file, name + ".heads"), block = number(file, name + ".diag_block");
  const Index act = number(file, name + ".act");
  const bool causal = number(file, name + ".causal") != 0;
  auto out = unwritten<T, 3>(in.q.shape());
  const auto run = [&](const auto& mixer) {
    const auto by_head = [&](auto view) { return heads_of_tokens(view, heads); };
    forward(mixer, by_head(in.q.view()), by_head(in.k.view()), by_head(in.v.view()),
            by_head(out.view()));
  };
  const Order order = causal ? Order::causal : Order::bidirectional;
  const SimpleRmsNorm<T> norm;
  const auto linear = [&](auto map) {
    LinearAttention mixer{map};
    mixer.order = order;
    run(NormAttention{mixer, norm});
  };
  // An open window on both sides hides nothing.
  const And mask{BlockDiagonal{block}, Window{-1, causal ? 0 : -1}};
  if (act == 0) linear(Elu{});
  if (act == 1) linear(EluPlusOne{});
  if (act == 2) {
    run(Softmax{mask, NoScore{}, ReluWeights<1>{Count::one}});
    normalize(norm, out, out);
  }
  if (act == 3) {
    if (causal)
      run(Softmax{mask});
    else
      run(Softmax{mask, NoScore{}, PaddedBlockSoftmax{block}});
  }
  c.compare("out", out, file.read<double, 3>(name + ".out"));
}

void run_transnormer(const SafetensorsFile& file, Report& report) {
  run_each(file, report, [&](auto type, Case& c, const std::string& name) {
    run_transnormer_case<decltype(type)>(c, file, name);
  });
}

// --- PRepBN

template <class T>
void run_rep_norm_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto read = [&](const char* what) { return file.read<T, 1>(name + what); };
  const auto x = file.read<T, 3>(name + ".x");
  const auto gamma = read(".bn_weight"), beta = read(".bn_bias");
  const auto mean = read(".running_mean"), variance = read(".running_var");
  RepBatchNorm<T> norm{gamma, beta, mean, variance, read(".alpha")(0)};
  const ChannelAffine<T> affine(norm);
  auto y = unwritten<T, 3>(x.shape());
  apply_affine(affine, x, y);
  c.compare("out_eval", y, file.read<double, 3>(name + ".out_eval"));

  const auto check = [&](const std::string& layer, auto fold) {
    auto weight = file.read<T, 2>(name + layer + "_weight");
    auto bias = read((layer + "_bias").c_str());
    fold(affine, weight.view(), bias.view());
    c.compare(layer + " weight", weight, file.read<double, 2>(name + layer + "_weight_folded"));
    c.compare(layer + " bias", bias, file.read<double, 1>(name + layer + "_bias_folded"));
  };
  check(".next", fold_into_next<T>);
  check(".prev", fold_into_previous<T>);

  Tensor<T, 1> batch_mean({x.extent(2)}), batch_variance({x.extent(2)});
  batch_statistics(x, batch_mean.view(), batch_variance.view());
  norm.mean = batch_mean;
  norm.variance = batch_variance;
  const auto weight = read(".ln_weight"), bias = read(".ln_bias");
  const auto lambda = static_cast<T>(file.read<double, 1>(name + ".lambda")(0));
  progressive_norm(LayerNorm<T>{weight, bias}, ChannelAffine<T>(norm), lambda, x, y);
  c.compare("out_train_mix", y, file.read<double, 3>(name + ".out_train_mix"));
}

void run_rep_norm(const SafetensorsFile& file, Report& report) {
  run_each(file, report, [&](auto type, Case& c, const std::string& name) {
    run_rep_norm_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/transnormer", run_transnormer},
    {"linear/slab_prepbn", run_rep_norm},
};

}  // namespace

std::span<const Mechanism> linear_norm_mechanisms() { return kMechanisms; }

}  // namespace golden
