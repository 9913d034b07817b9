#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/kernelized/ecoformer.hpp>
#include <weft/attention/kernelized/kernel_hash.hpp>

// linear/ecoformer

namespace golden {
namespace {

using namespace weft;

template <class T>
void run_ecoformer_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 4>(name + ".qk"), v = file.read<T, 4>(name + ".v");
  const auto a = file.read<T, 3>(name + ".A");
  const auto anchors = file.read<T, 4>(name + ".anchor"), mean = file.read<T, 4>(name + ".mvec");
  const KernelHash<T> hash(a.view(), anchors.view().select(0, 0),
                           mean.view().select(0, 0).select(1, 0));
  const BitCodes codes = hash(x);
  const auto expected = file.read<std::int32_t, 4>(name + ".codes");
  Index wrong = 0;
  for (Index b = 0; b < codes.batch(); ++b)
    for (Index h = 0; h < codes.heads(); ++h)
      for (Index i = 0; i < codes.tokens(); ++i)
        for (Index r = 0; r < codes.bits(); ++r)
          wrong += codes.sign(b, h, i, r) != expected(b, h, i, r);
  c.require("codes", wrong == 0);
  const auto check = [&](const std::string& what, const EcoFormer& mixer) {
    auto out = unwritten<T, 4>(v.shape());
    forward(mixer, codes, codes, v, out);
    c.compare(what, out, file.read<double, 4>(name + what));
  };
  check(".out_official", {0, true});
  check(".out_summed_bias", {});
  const double power = std::exp2(std::ceil(std::log2(static_cast<double>(codes.bits() + 1))));
  check(".out_summed_bias_pow2", {power});
}

void run_ecoformer(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_ecoformer_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {{"linear/ecoformer", run_ecoformer}};

}  // namespace

std::span<const Mechanism> linear_hash_mechanisms() { return kMechanisms; }

}  // namespace golden
