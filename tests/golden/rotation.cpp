#include "golden/metadata.hpp"
#include "golden/projection.hpp"
#include "golden/registry.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/position/complex_phase.hpp>
#include <weft/position/rope2d.hpp>

#include <algorithm>

// softmax/cmha, softmax/rope2d_croco, softmax/rope2d_fit, softmax/rope2d_sam2

namespace golden {
namespace {

using namespace weft;

// --- ComplexFormer

/// Attention of x with itself, and the weights: attention of one-hot values.
template <class T>
void run_cmha_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 3>(name + ".x");
  const auto delta = file.read<T, 2>(name + ".delta_params");
  const auto bias = file.read<T, 2>(name + ".bias_params");
  const Index B = x.extent(0), N = x.extent(1), H = delta.extent(0), C = x.extent(2);
  const auto map = [&](const char* which) { return project(file, x, name + which, ""); };
  auto q = map(".W_q.weight"), k = map(".W_k.weight"), v = map(".W_v.weight");
  const auto queries = as_heads(q.view(), H), keys = as_heads(k.view(), H);
  const RopeTable<T> table(rope_frequencies(C / H), RopeLayout::half, N);
  apply_complex_phase(table, delta.view(), bias.view(), queries, queries, 0);
  apply_complex_phase(table, delta.view(), {}, keys, keys, 0);

  Softmax mixer{Window{-1, is_causal(file, name) ? 0 : -1}};
  mixer.scale = 1;
  auto mixed = unwritten<T, 3>({B, N, C});
  forward(mixer, queries, keys, as_heads(v.view(), H), as_heads(mixed.view(), H));
  c.compare("out", project(file, mixed, name + ".W_o.weight", ""),
            file.read<double, 3>(name + ".out"));

  Tensor<T, 4> one_hot({1, 1, N, N});
  for (Index i = 0; i < N; ++i) one_hot(0, 0, i, i) = 1;
  auto weights = unwritten<T, 4>({B, H, N, N});
  forward(mixer, queries, keys, one_hot.view().broadcast({B, H, N, N}), weights);
  c.compare("attn", weights, file.read<double, 4>(name + ".attn"));
}

void run_cmha(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_cmha_case<decltype(type)>(c, file, name);
  });
}

// --- RoPE of two axes

/// Largest position of a tensor of them, plus one.
Index extent_of(const Tensor<std::int32_t, 3>& positions) {
  return *std::max_element(positions.span().begin(), positions.span().end()) + 1;
}

template <class T>
void run_croco_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 4>(name + ".x");
  const auto at = file.read<std::int32_t, 3>(name + ".pos_yx");
  const auto rope =
      croco_rope<T>(x.extent(3), extent_of(at), file.read<double, 1>(name + ".base")(0),
                    file.read<double, 1>(name + ".F0")(0));
  auto out = unwritten<T, 4>(x.shape());
  apply_rope2d(rope, x, out, std::as_const(at).view().select(2, 0),
               std::as_const(at).view().select(2, 1));
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

void run_croco(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_croco_case<decltype(type)>(c, file, name);
  });
}

/// Frequencies of one axis of a FiT case: `length` and `original` are the contexts it is stretched
/// between, the kind of stretching is in the name.
RopeFrequencies fit_frequencies(const std::string& name, Index channels, Index length,
                                double original) {
  const double factor = fit_factor(length, original);
  const auto is = [&](const char* kind) { return name.rfind(kind, 0) == 0; };
  if (is("linear")) return rope_frequencies(channels, 1e4, RopeLinear{factor});
  if (is("ntk")) return rope_frequencies(channels, 1e4, RopeNtk{factor});
  if (is("yarn")) return rope_frequencies(channels, 1e4, RopeYarn{factor, original});
  if (is("byparts")) return rope_frequencies(channels, 1e4, RopeNtkByParts{factor, original});
  require(name == "normal", "unknown stretching \"", name, "\"");
  return rope_frequencies(channels);
}

void check_radians(Case& c, const RopeFrequencies& got, const Tensor<double, 1>& expected) {
  Tensor<double, 1> radians({std::ssize(got.radians)});
  std::copy(got.radians.begin(), got.radians.end(), radians.data());
  c.compare("frequencies", radians, expected);
}

/// Fields of `params`: longest h, longest w, decoupled, original context.
template <class T>
void run_fit_case(Case& c, const SafetensorsFile& file, const std::string& name,
                  const nlohmann::json& params) {
  const auto x = file.read<T, 4>(name + ".x");
  const auto at = file.read<std::int32_t, 3>(name + ".grid_wh");
  Index h = 1, w = 1;
  double original = 1;
  if (params.contains(name)) {
    h = params[name][0], w = params[name][1], original = params[name][3];
    if (!params[name][2].get<bool>()) h = w = std::max(h, w);
  }
  const auto along_h = fit_frequencies(name, x.extent(3) / 2, h, original);
  const auto along_w = fit_frequencies(name, x.extent(3) / 2, w, original);
  check_radians(c, along_h, file.read<double, 1>(name + ".freqs_h"));
  check_radians(c, along_w, file.read<double, 1>(name + ".freqs_w"));
  c.require("magnitude",
            std::abs(along_h.magnitude - file.read<double, 1>(name + ".mscale")(0)) < 1e-12);
  auto out = unwritten<T, 4>(x.shape());
  apply_rope2d(fit_rope<T>(along_h, along_w, extent_of(at)), x, out,
               std::as_const(at).view().select(1, 1), std::as_const(at).view().select(1, 0));
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

void run_fit(const SafetensorsFile& file, Report& report) {
  const std::string text = metadata_of(file, "params");
  const auto params = python_literal(text.substr(text.find('{')), file.name() + ": params");
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_fit_case<decltype(type)>(c, file, name, params);
  });
}

template <class T>
void run_sam2_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto wh = file.read<std::int32_t, 1>(name + ".wh");
  const Index grid = Index{wh(0)} * wh(1);
  const double theta = file.read<double, 1>(name + ".theta")(0);
  for (const char* which : {".q", ".k"}) {
    const auto x = file.read<T, 4>(name + which);
    const auto at = grid_positions(wh(1), wh(0), x.extent(2) / grid);
    auto out = unwritten<T, 4>(x.shape());
    apply_rope2d(sam2_rope<T>(x.extent(3), std::max(wh(0), wh(1)), theta), x, out,
                 std::as_const(at.y).view(), std::as_const(at.x).view());
    c.compare(which + 1, out, file.read<double, 4>(name + which + "_out"));
  }
}

void run_sam2(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_sam2_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"softmax/cmha", run_cmha},
    {"softmax/rope2d_croco", run_croco},
    {"softmax/rope2d_fit", run_fit},
    {"softmax/rope2d_sam2", run_sam2},
};

}  // namespace

std::span<const Mechanism> rotation_mechanisms() { return kMechanisms; }

}  // namespace golden
