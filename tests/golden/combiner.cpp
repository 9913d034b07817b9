#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/kernelized/combiner.hpp>
#include <weft/attention/kernelized/fit.hpp>

// linear/combiner, linear/fit

namespace golden {
namespace {

using namespace weft;

template <class T>
void run_combiner_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto row_keys = file.read<T, 4>(name + ".key_row");
  const Index segment = file.read<std::int32_t, 1>(name + ".segment")(0);
  const auto check = [&](const char* what, const auto& mixer) {
    auto out = unwritten<T, 4>(in.v.shape());
    forward(mixer, in.q, in.k, in.v, out);
    c.compare(what, out, file.read<double, 4>(name + "." + what));
  };
  check("fixed_causal", CombinerFixed{segment});
  check("fixed_bidir_tf", CombinerFixed{segment, false});
  check("logsparse_causal", CombinerLogSparse{});
  check("axial_rowmajor_causal", CombinerAxial<T>{segment, row_keys.view()});
  check("axial_rowmajor_causal_nokeyrow", CombinerAxial<T>{segment});
  check("mixture_causal", CombinerMixture{segment});
}

void run_combiner(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_combiner_case<decltype(type)>(c, file, name);
  });
}

/// Tensors [T, n, D] of one head, as the sequence that they are.
template <class T>
void run_fit_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  auto x = file.read<T, 3>(name + ".x"), z = file.read<T, 3>(name + ".latents");
  const auto sequence = [](Tensor<T, 3>& t) {
    return View<T, 4>(t.data(), {1, 1, t.extent(0) * t.extent(1), t.extent(2)});
  };
  const FitBlock block{x.extent(0), file.read<std::int32_t, 1>(name + ".causal")(0) != 0};
  forward(block, sequence(x), sequence(z));
  c.compare("x2", x, file.read<double, 3>(name + ".x2"));
  c.compare("z2", z, file.read<double, 3>(name + ".z2"));
}

void run_fit(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_fit_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/combiner", run_combiner},
    {"linear/fit", run_fit},
};

}  // namespace

std::span<const Mechanism> combiner_mechanisms() { return kMechanisms; }

}  // namespace golden
