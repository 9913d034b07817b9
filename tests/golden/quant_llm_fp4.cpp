#include "golden/codes.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/quant/llm_fp4.hpp>

// quant/llm_fp4

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

/// x [B, T, C] as [B T, C].
template <class T>
Tensor<T, 2> rows_of(const Tensor<T, 3>& x) {
  Tensor<T, 2> out({x.extent(0) * x.extent(1), x.extent(2)});
  std::copy_n(x.data(), x.size(), out.data());
  return out;
}

/// The layer that the file describes.
LlmFp4Layer layer_of(const SafetensorsFile& file, const std::string& name) {
  const auto formats = read_flat<std::int32_t>(file, name + ".formats");
  return {{formats[0], formats[1]},
          {formats[2], formats[3]},
          file.read<double, 1>(name + ".w_bias"),
          read_scalar<double>(file, name + ".rho"),
          file.read<std::int32_t, 1>(name + ".k")};
}

/// x_dq w_dq^T + bias.
Tensor<double, 2> output(const Tensor<double, 2>& x, const Tensor<double, 2>& w,
                         const Tensor<double, 1>& bias) {
  Tensor<double, 2> y({x.extent(0), w.extent(0)});
  gemm(x, w.view().transpose(0, 1), y, Bias{bias.view()});
  return y;
}

void run_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = rows_of(file.read<float, 3>(name + ".x"));
  const auto w = file.read<float, 2>(name + ".w");
  const auto bias = file.read<double, 1>(name + ".bias");
  const LlmFp4Layer given = layer_of(file, name);
  const Tolerance close{1e-12, 0};

  const auto x_dq = quantize_activations<float>(given, x);
  const auto w_dq = quantize_weight<float>(given, w);
  c.compare("x_dq", x_dq, rows_of(file.read<double, 3>(name + ".x_dq")), close);
  c.compare("w_dq", w_dq, file.read<double, 2>(name + ".w_dq"), close);
  c.compare("y", output(x_dq, w_dq, bias), rows_of(file.read<double, 3>(name + ".y")), close);
  const auto biases = channel_biases(doubles(x), given.activation_format);
  compare_flat(c, file, name + ".a_channel_bias", biases, close);
  require_codes(c, file, name + ".k",
                pre_shifts(biases, given.rho, given.activation_format).span());
  std::vector<double> effective;
  for (const std::int32_t k : given.shift.span()) effective.push_back(given.rho + k);
  compare_flat(c, file, name + ".a_effective_bias", effective, close);

  const int rounds = read_scalar<std::int32_t>(file, name + ".search_rounds");
  const auto found = llm_fp4_search(x, w, read_scalar<std::int32_t>(file, name + ".bits"), rounds);
  const auto exact = output(doubles(x), doubles(w), bias);
  const auto y =
      output(quantize_activations<float>(found, x), quantize_weight<float>(found, w), bias);
  double mse = 0;
  for (Index i = 0; i < y.size(); ++i) {
    const double d = y.data()[i] - exact.data()[i];
    mse += d * d / static_cast<double>(y.size());
  }
  const double expected = read_scalar<double>(file, name + ".mse");
  c.require("mse " + std::to_string(mse) + ", expected " + std::to_string(expected),
            mse <= expected * 1.01);  // of candidates that are all but equal any may win
}

void run_llm_fp4(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { run_case(c, file, name); });
}

constexpr Mechanism kMechanisms[] = {{"quant/llm_fp4", run_llm_fp4}};

}  // namespace

std::span<const Mechanism> quant_llm_fp4_mechanisms() { return kMechanisms; }

}  // namespace golden
