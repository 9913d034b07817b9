#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/kernelized/relative_fft.hpp>

// linear/kernelized_rpe_fft

namespace golden {
namespace {

using namespace weft;

template <class T>
void run_relative_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto projection = file.read<T, 2>(name + ".W"), bias = file.read<T, 2>(name + ".b");
  RelativeKernelOptions options;
  options.causal = file.read<std::int32_t, 1>(name + ".causal")(0) != 0;
  options.normalize = file.read<std::int32_t, 1>(name + ".normalized")(0) != 0;
  for (const auto method : {RelativeMethod::direct, RelativeMethod::fft}) {
    options.method = method;
    const RelativeKernel<T> mixer(projection.view(), bias.view(), options);
    auto out = unwritten<T, 4>(in.v.shape());
    forward(mixer, in.q, in.k, in.v, out);
    c.compare(method == RelativeMethod::fft ? "out by transforms" : "out", out,
              file.read<double, 4>(name + ".out"));
  }
}

void run_relative(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_relative_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/kernelized_rpe_fft", run_relative},
};

}  // namespace

std::span<const Mechanism> kernelized_mechanisms() { return kMechanisms; }

}  // namespace golden
