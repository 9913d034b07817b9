#include "golden/projection.hpp"
#include "golden/registry.hpp"
#include <weft/attention/delta.hpp>
#include <weft/attention/linear.hpp>
#include <weft/layer/norm.hpp>

// recurrent/simple_gla, recurrent/gla, recurrent/retention, recurrent/delta_rule,
// recurrent/gated_delta_rule

namespace golden {
namespace {

using namespace weft;

/// [B, T, H, C] as [B, H, T, C], and [B, T, H] as [B, H, T].
template <class T, std::size_t Rank>
View<const T, Rank> by_head(const Tensor<T, Rank>& x) {
  return x.view().transpose(1, 2);
}

double number_of(const SafetensorsFile& file, const std::string& key) {
  return std::stod(metadata_of(file, key));
}

/// Runs a case from its initial state and compares results and final state.
template <class T, class Mixer>
void check_recurrence(Case& c, const SafetensorsFile& file, const std::string& name, Mixer mixer,
                      const std::string& suffix = "", Index position = 0) {
  const auto q = file.read<T, 4>(name + ".q"), k = file.read<T, 4>(name + ".k");
  const auto v = file.read<T, 4>(name + ".v");
  mixer.scale = number_of(file, name + ".scale");
  auto state = make_state<T>(mixer, {v.extent(0), v.extent(2), q.extent(3), v.extent(3)});
  state.position = position;
  if (file.contains(name + ".initial_state")) state.s = file.read<T, 4>(name + ".initial_state");
  auto out = unwritten<T, 4>(v.shape());
  prefill(mixer, state, by_head(q), by_head(k), by_head(v), out.view().transpose(1, 2));
  c.compare("out" + suffix, out, file.read<double, 4>(name + ".out" + suffix));
  c.compare("final_state" + suffix, state.s, file.read<double, 4>(name + ".final_state" + suffix));
}

void run_simple_gla(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    using T = decltype(t);
    const auto decay = file.read<T, 3>(name + ".log_decay");
    check_recurrence<T>(c, file, name, simple_gated_linear(by_head(decay)));
  });
}

void run_gla(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    using T = decltype(t);
    const auto logits = file.read<T, 4>(name + ".gate_logit");
    auto gates = unwritten<T, 4>(logits.shape());
    log_sigmoid_gate(logits, gates, number_of(file, name + ".gate_logit_normalizer"));
    c.compare("log_gate", gates, file.read<double, 4>(name + ".log_gate"));
    check_recurrence<T>(c, file, name, gated_linear(by_head(gates)));
  });
}

// --- Retention

template <class T>
void run_retention_core(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto expected = file.read<double, 1>(name + ".log_gamma");
  const auto log_gamma = retention_log_decay<T>(expected.size());
  c.compare("log_gamma", log_gamma, expected);
  check_recurrence<T>(c, file, name, retention(log_gamma));
  const auto offset = static_cast<Index>(number_of(file, name + ".pos_offset"));
  const auto shape = file.info(name + ".q").shape;
  const RopeTable<T> table(retention_frequencies(static_cast<Index>(shape[3])),
                           RopeLayout::interleaved, static_cast<Index>(shape[1]), offset);
  check_recurrence<T>(c, file, name, retention(log_gamma, Rotary{table}), "_rot", offset);
}

/// The released module in its three modes, which differ from each other and from the exact core by
/// their scalings before the norm: 1e-5.
template <class T>
void run_retention_layer(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto heads = static_cast<Index>(number_of(file, name + ".heads"));
  const T eps = static_cast<T>(number_of(file, name + ".rms_eps"));
  const auto x = file.read<T, 3>(name + ".x");
  const auto part = [&](const char* weight) { return project(file, x, name + "." + weight, ""); };
  const auto q = part("W_q"), k = part("W_k"), v = part("W_v"), gate = part("W_g");
  const auto log_gamma = retention_log_decay<T>(heads);
  auto mixed = unwritten<T, 3>(v.shape());
  const auto of_heads = as_heads(mixed.view(), heads);
  const RopeTable<T> table(retention_frequencies(q.extent(2) / heads), RopeLayout::interleaved,
                           q.extent(1));
  forward(retention(log_gamma, Rotary{table}), as_heads(q.view(), heads), as_heads(k.view(), heads),
          as_heads(v.view(), heads), of_heads);
  normalize(RmsNorm<T>{{}, eps}, of_heads, of_heads);
  for (Index i = 0; i < mixed.size(); ++i) {
    const T g = gate.data()[i];
    mixed.data()[i] *= g / (1 + std::exp(-g));
  }
  const auto out = project(file, mixed, name + ".W_out", "");
  for (const char* mode : {"out_parallel", "out_recurrent", "out_chunk"})
    c.compare(mode, out, file.read<double, 3>(name + "." + mode), {3e-5, 3e-5});
}

void run_retention(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    using T = decltype(t);
    if (name.starts_with("layer"))
      run_retention_layer<T>(c, file, name);
    else
      run_retention_core<T>(c, file, name);
  });
}

// --- Delta rule

void run_delta_rule(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    using T = decltype(t);
    const auto beta = file.read<T, 3>(name + ".beta");
    if (metadata_of(file, name + ".norm") == "l2")
      check_recurrence<T>(c, file, name, delta_net(by_head(beta)));
    else
      check_recurrence<T>(c, file, name, delta_net(by_head(beta), Identity{}));
  });
}

void run_gated_delta_rule(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    using T = decltype(t);
    const auto logits = file.read<T, 3>(name + ".a_logit");
    auto decay = unwritten<T, 3>(logits.shape()), beta = unwritten<T, 3>(logits.shape());
    softplus_gate(by_head(logits), file.read<T, 1>(name + ".A_log"),
                  file.read<T, 1>(name + ".dt_bias"), decay.view().transpose(1, 2));
    const T multiplier = static_cast<T>(number_of(file, name + ".gate_multiplier"));
    for (T& g : decay.span()) g *= multiplier;
    sigmoid_gate(file.read<T, 3>(name + ".beta_logit"), beta,
                 metadata_of(file, name + ".allow_neg_eigval") == "1" ? 2 : 1);
    c.compare("g", decay, file.read<double, 3>(name + ".g"));
    c.compare("beta", beta, file.read<double, 3>(name + ".beta"));
    check_recurrence<T>(c, file, name, gated_delta_net(by_head(decay), by_head(beta)));
  });
}

constexpr Mechanism kMechanisms[] = {
    {"recurrent/simple_gla", run_simple_gla},
    {"recurrent/gla", run_gla},
    {"recurrent/retention", run_retention},
    {"recurrent/delta_rule", run_delta_rule},
    {"recurrent/gated_delta_rule", run_gated_delta_rule},
};

}  // namespace

std::span<const Mechanism> recurrent_mechanisms() { return kMechanisms; }

}  // namespace golden
