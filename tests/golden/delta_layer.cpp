#include "golden/projection.hpp"
#include "golden/registry.hpp"
#include <weft/attention/delta.hpp>
#include <weft/attention/softmax.hpp>
#include <weft/layer/causal_conv1d.hpp>
#include <weft/layer/norm.hpp>
#include <weft/position/rope.hpp>

// recurrent/causal_conv1d, recurrent/deltanet_layer

namespace golden {
namespace {

using namespace weft;

Index count_of(const SafetensorsFile& file, const std::string& key) {
  return std::stol(metadata_of(file, key));
}

// --- Causal convolution

/// [B, C, N] as a copy [B, N, C].
template <class T>
Tensor<T, 3> channels_last(const Tensor<T, 3>& x) {
  Tensor<T, 3> out({x.extent(0), x.extent(2), x.extent(1)});
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index c = 0; c < x.extent(1); ++c)
      for (Index t = 0; t < x.extent(2); ++t) out(b, t, c) = x(b, c, t);
  return out;
}

void run_causal_conv1d(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    using T = decltype(t);
    const auto x = channels_last(file.read<T, 3>(name + ".x"));
    const auto weight = file.read<T, 2>(name + ".weight");
    const Tensor<T, 1> bias =
        file.contains(name + ".bias") ? file.read<T, 1>(name + ".bias") : Tensor<T, 1>();
    const CausalConv1d<T> conv(weight, bias);
    // The file keeps one input more than the convolution reads.
    const auto kept = [&](const std::string& tensor) {
      const auto state = channels_last(file.read<double, 3>(name + tensor));
      Tensor<double, 3> out({state.extent(0), state.extent(1) - 1, state.extent(2)});
      for (Index b = 0; b < out.extent(0); ++b)
        for (Index j = 0; j < out.extent(1); ++j)
          for (Index d = 0; d < out.extent(2); ++d) out(b, j, d) = state(b, j + 1, d);
      return out;
    };
    auto state = conv.make_state(x.extent(0));
    const auto initial = kept(".initial_state");
    std::transform(initial.data(), initial.data() + initial.size(), state.inputs.data(),
                   [](double value) { return static_cast<T>(value); });
    auto out = unwritten<T, 3>(x.shape());
    if (metadata_of(file, name + ".activation") == "silu")
      conv.apply(state, x, out, Silu{});
    else
      conv.apply(state, x, out);
    c.compare("out", out, channels_last(file.read<double, 3>(name + ".out")));
    c.compare("final_state", state.inputs, kept(".final_state"));
  });
}

// --- Whole layers

template <class T>
struct LayerCase {
  Case& c;
  const SafetensorsFile& file;
  std::string name;
  Tensor<T, 3> x;

  Tensor<T, 3> projected(const std::string& weight) const {
    return project(file, x, name + ".W." + weight, "");
  }
  /// silu(conv(x W^T))
  Tensor<T, 3> convolved(const std::string& weight) const {
    auto y = projected(weight);
    auto out = unwritten<T, 3>(y.shape());
    CausalConv1d<T>(file.read<T, 2>(name + ".W.c" + weight)).apply(y, out, Silu{});
    return out;
  }
};

template <class T>
void finish_layer(const LayerCase<T>& l, Tensor<T, 3>& mixed, Index heads) {
  const auto of_heads = as_heads(mixed.view(), heads);
  const auto weight = l.file.template read<T, 1>(l.name + ".W.norm");
  normalize(RmsNorm<T>{weight.view(), T(1e-5)}, of_heads, of_heads);
  if (metadata_of(l.file, l.name + ".output_gate") == "1") {
    const auto gate = l.projected("g");
    for (Index i = 0; i < mixed.size(); ++i) {
      const T g = gate.data()[i];
      mixed.data()[i] *= g / (1 + std::exp(-g));
    }
  }
  l.c.compare("out", project(l.file, mixed, l.name + ".W.o", ""),
              l.file.template read<double, 3>(l.name + ".out"));
}

template <class T, class Mixer>
void run_mixer_of_layer(const LayerCase<T>& l, const Mixer& mixer, Index heads) {
  const auto q = l.convolved("q"), k = l.convolved("k"), v = l.convolved("v");
  auto state = make_state<T>(mixer, {v.extent(0), heads, q.extent(2) / heads, v.extent(2) / heads});
  auto mixed = unwritten<T, 3>(v.shape());
  prefill(mixer, state, as_heads(q.view(), heads), as_heads(k.view(), heads),
          as_heads(v.view(), heads), as_heads(mixed.view(), heads));
  Tensor<T, 4> core({v.extent(0), v.extent(1), heads, v.extent(2) / heads});
  std::copy_n(mixed.data(), mixed.size(), core.data());
  l.c.compare("core_out", core, l.file.template read<double, 4>(l.name + ".core_out"));
  l.c.compare("final_state", state.s, l.file.template read<double, 4>(l.name + ".final_state"));
  finish_layer(l, mixed, heads);
}

template <class T>
void run_delta_layer(const LayerCase<T>& l) {
  const Index heads = count_of(l.file, l.name + ".H");
  auto beta = l.projected("b");
  const bool negative = metadata_of(l.file, l.name + ".allow_neg_eigval") == "1";
  sigmoid_gate(beta, beta, negative ? 2 : 1);
  const View<const T, 3> betas = beta.view().transpose(1, 2);
  if (metadata_of(l.file, l.name + ".gated_decay") == "0")
    return run_mixer_of_layer(l, delta_net(betas), heads);
  auto decay = l.projected("a");
  const auto decays = decay.view().transpose(1, 2);
  softplus_gate(decays, l.file.template read<T, 1>(l.name + ".W.A_log"),
                l.file.template read<T, 1>(l.name + ".W.dt_bias"), decays);
  run_mixer_of_layer(l, gated_delta_net(decays, betas), heads);
}

/// Softmax attention of the tokens in a window, the other kind of layer of a hybrid.
template <class T>
void run_window_layer(const LayerCase<T>& l) {
  const Index heads = count_of(l.file, l.name + ".H"), dim = count_of(l.file, l.name + ".dh");
  const Index tokens = l.x.extent(1), window = count_of(l.file, l.name + ".window");
  auto q = l.projected("q"), k = l.projected("k"), v = l.projected("v");
  const double base = std::stod(metadata_of(l.file, l.name + ".rope_base"));
  const RopeTable<T> table(rope_frequencies(dim, base), RopeLayout::half, tokens);
  for (auto* x : {&q, &k}) {
    const auto of_heads = as_heads(x->view(), heads);
    apply_rope(table, of_heads, of_heads, 0);
  }
  auto mixed = unwritten<T, 3>(v.shape());
  forward(Softmax{And{Causal{Align::bottom_right}, Window{window - 1, 0}}},
          as_heads(q.view(), heads), as_heads(k.view(), heads), as_heads(v.view(), heads),
          as_heads(mixed.view(), heads));
  l.c.compare("out", project(l.file, mixed, l.name + ".W.o", ""),
              l.file.template read<double, 3>(l.name + ".out"));
}

void run_deltanet_layer(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    using T = decltype(t);
    const LayerCase<T> layer{c, file, name, file.read<T, 3>(name + ".x")};
    if (name.starts_with("swa"))
      run_window_layer(layer);
    else
      run_delta_layer(layer);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"recurrent/causal_conv1d", run_causal_conv1d},
    {"recurrent/deltanet_layer", run_deltanet_layer},
};

}  // namespace

std::span<const Mechanism> delta_layer_mechanisms() { return kMechanisms; }

}  // namespace golden
