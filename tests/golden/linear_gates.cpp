#include "golden/registry.hpp"
#include "golden/tokens.hpp"
#include <weft/attention/linear/dual_gated.hpp>
#include <weft/attention/linear/gated_unit.hpp>
#include <weft/attention/linear/joint_attention.hpp>

// linear/gau, linear/flash_mossformer, linear/herseg_dla

namespace golden {
namespace {

using namespace weft;

template <class T>
DenseOperator<T> dense(const SafetensorsFile& file, const std::string& name) {
  const auto w = file.read<T, 2>(name + ".weight");
  const auto b = file.read<T, 1>(name + ".bias");
  return DenseOperator<T>(w.view(), b.view());
}

bool flag(const SafetensorsFile& file, const std::string& name) { return number(file, name) != 0; }

// --- GAU

/// Either function of the logits, chosen at run time.
struct UnitWeights {
  bool laplace;

  template <class T>
  auto weights(const Row& row) const noexcept {
    return [l = laplace, relu = ReluWeights<2>{Count::one}.template weights<T>(row),
            smooth = LaplaceWeights{}.template weights<T>(row)](const auto& s, Index j) {
      return l ? smooth(s, j) : relu(s, j);
    };
  }
  template <class T>
  T factor(T, T, const Row&) const noexcept {
    return T(1);
  }
};

template <class T>
void run_unit_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 3>(name + ".x");
  const auto norm_weight = file.read<T, 1>(name + ".norm.weight");
  const auto norm_bias = file.read<T, 1>(name + ".norm.bias");
  const auto gamma = file.read<T, 2>(name + ".offsetscale.gamma");
  const auto beta = file.read<T, 2>(name + ".offsetscale.beta");
  const auto buckets = file.read<T, 2>(name + ".rel_pos_bias.relative_attention_bias.weight");
  const GatedUnit<DenseOperator<T>, UnitWeights, T> unit{
      LayerNorm<T>{norm_weight, norm_bias},
      dense<T>(file, name + ".to_hidden.0"),
      dense<T>(file, name + ".to_qk.0"),
      dense<T>(file, name + ".to_out.0"),
      gamma,
      beta,
      buckets.view().select(1, 0),
      flag(file, name + ".causal"),
      UnitWeights{flag(file, name + ".laplace")}};
  auto y = unwritten<T, 3>(x.shape());
  forward(unit, x, y);
  c.compare("out", y, file.read<double, 3>(name + ".out"));
}

void run_unit(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_unit_case<decltype(type)>(c, file, name);
  });
}

// --- FLASH and MossFormer

/// bias [g, g] of pairs as that of distances.
template <class T>
Tensor<T, 1> of_distances(const Tensor<T, 2>& bias) {
  const Index g = bias.extent(0);
  Tensor<T, 1> out({2 * g - 1});
  for (Index i = 0; i < g; ++i)
    for (Index j = 0; j < g; ++j) out(g - 1 + j - i) = bias(i, j);
  return out;
}

template <class T>
void run_joint_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto z = file.read<T, 3>(name + ".qk"), v = file.read<T, 3>(name + ".v");
  const auto u = file.read<T, 3>(name + ".u");
  const auto gamma = file.read<T, 2>(name + ".gamma"), beta = file.read<T, 2>(name + ".beta");
  const auto bias = of_distances(file.read<T, 2>(name + ".bias"));
  const Index B = z.extent(0), N = z.extent(1), S = z.extent(2);
  Tensor<std::int32_t, 1> lengths({B});
  for (Index b = 0; b < B; ++b) lengths(b) = static_cast<std::int32_t>(N);
  if (file.contains(name + ".mask")) {
    const auto mask = file.read<float, 2>(name + ".mask");
    for (Index b = 0; b < B; ++b)
      for (Index i = lengths(b) = 0; i < N; ++i) lengths(b) += mask(b, i) != 0;
  }
  Tensor<T, 4> copies({4, B, N, S});
  offset_scale<DefaultArch, T>(gamma, beta, z, copies);
  const auto copy = [&](Index i) { return copies.view().select(0, i); };
  const JointAttention<T> mixer{number(file, name + ".group"), flag(file, name + ".causal"), bias,
                                lengths};
  auto of_v = unwritten<T, 3>(v.shape()), of_u = unwritten<T, 3>(v.shape());
  auto gated = unwritten<T, 3>(v.shape());
  // The copies are: local queries, global queries, local keys, global keys.
  forward(mixer, copy(0), copy(2), copy(1), copy(3), v, of_v);
  forward(mixer, copy(0), copy(2), copy(1), copy(3), u, of_u);
  triple_gate(of_v, of_u, v, u, gated);
  c.compare("flash_out_v", of_v, file.read<double, 3>(name + ".flash_out_v"));
  c.compare("flash_out_u", of_u, file.read<double, 3>(name + ".flash_out_u"));
  c.compare("mossformer_gated", gated, file.read<double, 3>(name + ".mossformer_gated"));
}

void run_joint(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_joint_case<decltype(type)>(c, file, name);
  });
}

// --- HER-Seg

template <class T>
void run_dual_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 3>(name + ".x");
  const Index side = number(file, name + ".side"), C = x.extent(2);
  const auto taps = file.read<T, 4>(name + ".attn.lepe.weight");
  const auto conv_bias = file.read<T, 1>(name + ".attn.lepe.bias");
  const DepthwiseConv<T> conv(taps.view().select(1, 0), conv_bias.view());
  const auto rope = fit_rope<T>(C, side);
  const DualGatedAttention<DenseOperator<T>, T> mixer{number(file, name + ".heads"),
                                                      dense<T>(file, name + ".attn.qk"),
                                                      dense<T>(file, name + ".attn.up_proj"),
                                                      dense<T>(file, name + ".attn.down_proj"),
                                                      &rope,
                                                      &conv};
  auto out = unwritten<T, 3>(x.shape());
  const auto map = [&](auto view) { return map_of_tokens(view, side); };
  forward(mixer, map(x.view()), map(out.view()));
  c.compare("attn_out", out, file.read<double, 3>(name + ".attn_out"));

  const auto weight = file.read<T, 1>(name + ".norm1.weight");
  const auto bias = file.read<T, 1>(name + ".norm1.bias");
  Tensor<T, 3> normal(x.shape()), gate(x.shape());
  normalize(LayerNorm<T>{weight, bias}, x, normal);
  forward(mixer, map(normal.view()), map(out.view()));
  Linear<DenseOperator<T>>(dense<T>(file, name + ".act_proj")).apply(normal, gate);
  gate_with_silu(out, gate);
  auto block = unwritten<T, 3>(x.shape());
  Linear<DenseOperator<T>>(dense<T>(file, name + ".out_proj"))
      .apply(out, block, AddResidual<T>{detail::as_rows("x", x.view())});
  c.compare("gated_block_out", block, file.read<double, 3>(name + ".gated_block_out"));
}

void run_dual(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_dual_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/gau", run_unit},
    {"linear/flash_mossformer", run_joint},
    {"linear/herseg_dla", run_dual},
};

}  // namespace

std::span<const Mechanism> linear_gate_mechanisms() { return kMechanisms; }

}  // namespace golden
