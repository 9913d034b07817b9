#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include "support/feature_rows.hpp"
#include <weft/attention/linear/cosine_feature.hpp>
#include <weft/attention/linear/decorated_feature.hpp>
#include <weft/attention/linear/polynomial_feature.hpp>
#include <weft/attention/linear/projected_feature.hpp>
#include <weft/attention/linear/stream.hpp>
#include <weft/layer/heads.hpp>

// linear/linear_transformer, linear/cosformer, linear/hedgehog_taylor, linear/feature_maps_fla

namespace golden {
namespace {

using namespace weft;

Order order_of(const SafetensorsFile& file, const std::string& name) {
  return file.read<std::int32_t, 1>(name + ".causal")(0) != 0 ? Order::causal
                                                              : Order::bidirectional;
}

/// [B, N, H, D] as [B, H, N, D].
template <class T>
auto heads_first(Tensor<T, 4>& x) {
  return x.view().transpose(1, 2);
}

// --- Linear Transformer

template <class T>
void run_transformer_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  Inputs<T> in(file, name);
  const auto lengths = file.read<std::int32_t, 1>(name + ".key_len");
  const LinearAttention mixer{KeyLengths{EluPlusOne{}, lengths},
                              NoDecay{},
                              Additive{},
                              PlusEpsilon{1e-6},
                              1.0,
                              order_of(file, name)};
  const Index B = in.q.extent(0), N = in.q.extent(1), H = in.q.extent(2), E = in.v.extent(3);
  auto out = unwritten<T, 4>({B, N, H, E});
  forward(mixer, heads_first(in.q), heads_first(in.k), heads_first(in.v), heads_first(out));
  const auto expected = file.read<double, 4>(name + ".out");
  c.compare("out", out, expected);
  if (mixer.order != Order::causal) return;
  auto state = make_state<T>(mixer, {B, H, in.q.extent(3), E});
  for (Index t = 0; t < N; ++t) {
    const auto token = [t](auto& x) { return x.view().select(1, t); };
    step(mixer, state, token(in.q), token(in.k), token(in.v), token(out));
  }
  c.compare("out by steps", out, expected);
  if (!file.contains(name + ".state_S")) return;
  c.compare("state_S", state.s, file.read<double, 4>(name + ".state_S"));
  c.compare("state_z", state.z, file.read<double, 3>(name + ".state_z"));
}

void run_transformer(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_transformer_case<decltype(type)>(c, file, name);
  });
}

// --- cosFormer

template <class T>
void run_cosformer_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto q = file.read<T, 3>(name + ".q"), k = file.read<T, 3>(name + ".k");
  const auto v = file.read<T, 3>(name + ".v");
  const auto heads = file.read<std::int32_t, 1>(name + ".heads")(0);
  auto out = unwritten<T, 3>(q.shape());
  const LinearAttention mixer{CosineFeatures{std::max(q.extent(1), k.extent(1))},
                              NoDecay{},
                              Additive{},
                              AtLeastEpsilon{1e-6},
                              1.0,
                              order_of(file, name)};
  const auto by_head = [&](auto view) { return heads_of_tokens(view, heads); };
  forward(mixer, by_head(q.view()), by_head(k.view()), by_head(v.view()), by_head(out.view()));
  c.compare("out", out, file.read<double, 3>(name + ".out"));
}

void run_cosformer(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_cosformer_case<decltype(type)>(c, file, name);
  });
}

// --- Hedgehog and Taylor

template <class T, class F>
void check_both_orders(Case& c, const SafetensorsFile& file, const std::string& name, const F& map,
                       double eps, const Inputs<T>& in) {
  LinearAttention mixer{map, NoDecay{}, Additive{}, PlusEpsilon{eps}};
  auto out = unwritten<T, 4>({in.q.extent(0), in.q.extent(1), in.q.extent(2), in.v.extent(3)});
  forward(mixer, in.q, in.k, in.v, out);
  c.compare(name + "causal_out", out, file.read<double, 4>(name + "causal_out"));
  mixer.order = Order::bidirectional;
  forward(mixer, in.q, in.k, in.v, out);
  c.compare(name + "full_out", out, file.read<double, 4>(name + "full_out"));
}

template <class T>
void run_hedgehog_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto w = file.read<T, 3>(name + ".W");  // [H, D, F]
  const FeatureWeights<T> weights(w.view().transpose(1, 2));
  const Hedgehog<T> hedgehog(weights);
  for (const auto& [x, which] : {std::pair{&in.q, "q"}, {&in.k, "k"}})
    c.compare(std::string("hedgehog phi ") + which, features_of<T>(hedgehog, x->view(), false),
              file.read<double, 4>(name + ".hedgehog_phi_" + which));
  check_both_orders(c, file, name + ".hedgehog_", hedgehog, 1e-6, in);
  c.compare("taylor phi", features_of<T>(Taylor{false}, in.q.view(), false),
            file.read<double, 4>(name + ".taylor_phi_q"));
  check_both_orders(c, file, name + ".taylor_", Taylor{false}, 1e-12, in);
  check_both_orders(c, file, name + ".taylor_", Taylor{true}, 1e-12, in);
}

void run_hedgehog(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_hedgehog_case<decltype(type)>(c, file, name);
  });
}

template <class T>
void run_fla_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 2>(name + ".x");
  const auto check = [&](const std::string& what, const auto& map) {
    const auto expected = file.read<double, 2>(name + what);
    const auto got = features_of<T>(map, unsqueeze(unsqueeze(x.view())), true);
    auto flat = unwritten<T, 2>(expected.shape());
    c.require(what, got.size() == flat.size());
    std::copy_n(got.data(), std::min(got.size(), flat.size()), flat.data());
    c.compare(what, flat, expected);
  };
  const auto w = file.read<T, 2>(name + ".hedgehog_weight");
  const auto b = file.read<T, 1>(name + ".hedgehog_bias");
  const FeatureWeights<T> weights(unsqueeze(w.view()), unsqueeze(b.view()));
  check(".hedgehog_fla", JointHedgehog<T>(weights));
  check(".taylor_compact", Taylor{true});
  check(".dpfp", Dpfp{file.read<std::int32_t, 1>(name + ".nu")(0), true});
  const auto gamma = file.read<T, 1>(name + ".rebased_gamma");
  const auto beta = file.read<T, 1>(name + ".rebased_beta");
  check(".rebased", ReBased<T>{gamma, beta});
}

void run_fla(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_fla_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/linear_transformer", run_transformer},
    {"linear/cosformer", run_cosformer},
    {"linear/hedgehog_taylor", run_hedgehog},
    {"linear/feature_maps_fla", run_fla},
};

}  // namespace

std::span<const Mechanism> linear_map_mechanisms() { return kMechanisms; }

}  // namespace golden
