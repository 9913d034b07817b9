#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/attention/delta/atlas.hpp>

// recurrent/titans_atlas

namespace golden {
namespace {

using namespace weft;

Index count_of(const SafetensorsFile& file, const std::string& key) {
  const std::string text = metadata_of(file, key);
  return text.empty() ? 0 : std::stol(text);
}

/// [N, C] as one head, [1, 1, N, C], and [N] as [1, 1, N].
template <class T>
Tensor<T, 4> rows_of(const SafetensorsFile& file, const std::string& tensor) {
  const auto x = file.read<T, 2>(tensor);
  Tensor<T, 4> out({1, 1, x.extent(0), x.extent(1)});
  std::copy_n(x.data(), x.size(), out.data());
  return out;
}
template <class T>
Tensor<T, 3> numbers_of(const SafetensorsFile& file, const std::string& tensor) {
  const auto x = file.read<T, 1>(tensor);
  Tensor<T, 3> out({1, 1, x.extent(0)});
  std::copy_n(x.data(), x.size(), out.data());
  return out;
}

template <class T>
Tensor<T, 2> matrix_of(const Tensor<T, 4>& x) {
  Tensor<T, 2> out({x.extent(2), x.extent(3)});
  std::copy_n(x.data(), x.size(), out.data());
  return out;
}

/// "[1.0, 1.0, 0.5]" as numbers; anything else is none.
std::vector<double> list_of(const std::string& text) {
  std::vector<double> out;
  for (std::size_t at = text.find_first_of("0123456789.-"); at != std::string::npos;) {
    std::size_t used = 0;
    out.push_back(std::stod(text.substr(at), &used));
    at = text.find_first_of("0123456789.-", at + used);
  }
  return out;
}

template <class T, class Memory>
void run_memory(Case& c, const SafetensorsFile& file, const std::string& name, Memory memory,
                const std::vector<std::string>& weights) {
  const auto q = rows_of<T>(file, name + ".q"), k = rows_of<T>(file, name + ".k");
  const auto v = rows_of<T>(file, name + ".v"), gamma = rows_of<T>(file, name + ".gamma");
  const auto alpha = numbers_of<T>(file, name + ".alpha"), eta = numbers_of<T>(file, name + ".eta");
  const auto theta = numbers_of<T>(file, name + ".theta");
  Atlas<Memory, T> mixer{memory, alpha, eta, theta, gamma};
  mixer.window = gamma.extent(3);
  mixer.steps = static_cast<int>(count_of(file, name + ".ns_steps"));
  mixer.block = count_of(file, name + ".block");
  mixer.features.coefficients = list_of(metadata_of(file, name + ".poly_coef"));
  auto state = make_state(mixer, 1, 1, q.extent(3), v.extent(3));
  for (std::size_t i = 0; i < weights.size(); ++i)
    state.weights[i] = rows_of<T>(file, name + "." + weights[i] + "_init");
  auto out = unwritten<T, 4>(v.shape());
  prefill(mixer, state, q, k, v, out);
  // Newton-Schulz multiplies the smallest singular values, which in fp32 are rounding, by
  // 3.4445^5 = 485 per token, and later gradients are taken where that has led to.
  const Tolerance tolerance = mixer.steps > 0 ? Tolerance{1e-10, 5e-3} : Tolerance{};
  c.compare("out", matrix_of(out), file.read<double, 2>(name + ".out"), tolerance);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    c.compare(weights[i], matrix_of(state.weights[i]),
              file.read<double, 2>(name + "." + weights[i] + "_final"), tolerance);
    c.compare("S_" + weights[i], matrix_of(state.momenta[i]),
              file.read<double, 2>(name + ".S_" + weights[i] + "_final"), tolerance);
  }
}

template <class T>
void run_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  if (metadata_of(file, name + ".mode") == "linear")
    return run_memory<T>(c, file, name, LinearMemory{}, {"M"});
  const Index hidden = file.read<T, 2>(name + ".W1_init").extent(1);
  const bool residual = metadata_of(file, name + ".residual") == "1";
  if (metadata_of(file, name + ".act") == "gelu")
    run_memory<T>(c, file, name, DeepMemory<GeluSlope>{hidden, residual}, {"W1", "W2"});
  else
    run_memory<T>(c, file, name, DeepMemory<SiluSlope>{hidden, residual}, {"W1", "W2"});
}

template <class T>
void run_newton_schulz(Case& c, const SafetensorsFile& file, const std::string& name) {
  auto x = file.read<T, 2>(name + ".G");
  newton_schulz<T>(x.view(), static_cast<int>(count_of(file, name + ".steps")));
  c.compare("out", x, file.read<double, 2>(name + ".out"));
}

void run_titans_atlas(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto t, Case& c, const std::string& name) {
    using T = decltype(t);
    if (name.starts_with("ns"))
      run_newton_schulz<T>(c, file, name);
    else
      run_case<T>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {{"recurrent/titans_atlas", run_titans_atlas}};

}  // namespace

std::span<const Mechanism> atlas_mechanisms() { return kMechanisms; }

}  // namespace golden
