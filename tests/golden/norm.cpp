#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/core/activation.hpp>
#include <weft/core/gemm.hpp>
#include <weft/layer/norm.hpp>

// softmax/norms_adaln

namespace golden {
namespace {

using namespace weft;

/// The adaptive modulation of block part `part` (0: attention, 1: feed-forward): LayerNorm without
/// affine, with chunks 3 part and 3 part + 1 of `mod` as shift and scale.
template <class T>
void check_modulate(Case& c, const SafetensorsFile& file, const std::string& expected,
                    const Tensor<T, 3>& x, const Tensor<T, 2>& mod, Index part) {
  const Index d = x.extent(2);
  const auto chunk = [&](Index i) { return mod.view().slice(1, i * d, d); };
  auto y = unwritten<T, 3>(x.shape());
  modulate(LayerNorm<T>{.eps = T(1e-6)}, x, chunk(3 * part + 1), chunk(3 * part), y);
  c.compare(expected, y, file.read<double, 3>(expected));
}

template <class T>
void check_norms(Case& c, const SafetensorsFile& file, const std::string& name,
                 const Tensor<T, 3>& x) {
  const auto w = file.read<T, 1>(name + ".w");
  const auto b = file.read<T, 1>(name + ".b");
  const T eps = file.read<T, 1>(name + ".eps")(0);
  const auto layer = file.read<T, 1>(name + ".layer_index")(0);
  const auto check = [&](const char* what, const auto& norm) {
    auto y = unwritten<T, 3>(x.shape());
    normalize(norm, x, y);
    c.compare(what + 1, y, file.read<double, 3>(name + what));
  };
  check(".layernorm", LayerNorm<T>{w.view(), b.view(), eps});
  check(".rmsnorm", RmsNorm<T>{w.view(), eps});
  check(".lns", LayerNorm<T>{w.view(), b.view(), eps, 1 / std::sqrt(layer)});
}

/// Attention of normalised queries and keys.
template <class T>
void check_qk_norms(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto q = file.read<T, 4>(name + ".q");
  const auto k = file.read<T, 4>(name + ".k");
  const auto v = file.read<T, 4>(name + ".v");
  const auto wq = file.read<T, 1>(name + ".wq");
  const auto wk = file.read<T, 1>(name + ".wk");
  const auto check = [&](const char* what, const auto& q_norm, const auto& k_norm, double scale) {
    auto qn = unwritten<T, 4>(q.shape());
    auto kn = unwritten<T, 4>(k.shape());
    auto out = unwritten<T, 4>({q.extent(0), q.extent(1), q.extent(2), v.extent(3)});
    normalize(q_norm, q, qn);
    normalize(k_norm, k, kn);
    forward(Softmax{NoMask{}, NoScore{}, PlainSoftmax{}, scale}, qn, kn, v, out);
    c.compare(what + 1, out, file.read<double, 4>(name + what));
  };
  const LayerNorm<T> plain{.eps = T(1e-6)};
  check(".qk_layernorm_out", plain, plain, 0);
  check(".qk_rmsnorm_out", RmsNorm<T>{wq.view(), T(1e-6)}, RmsNorm<T>{wk.view(), T(1e-6)}, 0);
  const auto scale = file.read<double, 1>(name + ".l2_scale")(0);
  check(".qk_l2_out", L2Norm<T>{}, L2Norm<T>{}, scale);
}

/// y = x W^T + b, all of them tensors of the case.
template <class T>
Tensor<T, 2> linear(const SafetensorsFile& file, const Tensor<T, 2>& x, const std::string& weight,
                    const std::string& bias) {
  const auto w = file.read<T, 2>(weight);
  const auto b = file.read<T, 1>(bias);
  auto y = unwritten<T, 2>({x.extent(0), w.extent(0)});
  gemm(x, w.view().transpose(0, 1), y, Bias{b.view()});
  return y;
}

/// mod = W silu(c) + b, and with a low-rank part W2 (W1 silu(c) + b1) + b2 + Wg silu(c) + bg.
template <class T>
void check_modulations(Case& c, const SafetensorsFile& file, const std::string& name,
                       const Tensor<T, 3>& x) {
  auto condition = file.read<T, 2>(name + ".c");
  for (T& value : condition.span()) value = Silu{}(Vec<T>(value)).get(0);
  const auto mod = linear(file, condition, name + ".adaln_W", name + ".adaln_b");
  c.compare("adaln_mod", mod, file.read<double, 2>(name + ".adaln_mod"));
  check_modulate(c, file, name + ".adaln_msa", x, mod, 0);
  check_modulate(c, file, name + ".adaln_mlp", x, mod, 1);

  const auto inner = linear(file, condition, name + ".lora_W1", name + ".lora_b1");
  auto low_rank = linear(file, inner, name + ".lora_W2", name + ".lora_b2");
  const auto global = linear(file, condition, name + ".global_W", name + ".global_b");
  for (Index i = 0; i < low_rank.size(); ++i) low_rank.data()[i] += global.data()[i];
  c.compare("lora_mod", low_rank, file.read<double, 2>(name + ".lora_mod"));
  check_modulate(c, file, name + ".lora_msa", x, low_rank, 0);
}

template <class T>
void run_norms_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 3>(name + ".x");
  check_norms(c, file, name, x);
  check_qk_norms<T>(c, file, name);
  check_modulations(c, file, name, x);
}

void run_norms(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_norms_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {{"softmax/norms_adaln", run_norms}};

}  // namespace

std::span<const Mechanism> norm_mechanisms() { return kMechanisms; }

}  // namespace golden
