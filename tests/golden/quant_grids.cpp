#include "golden/codes.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/core/gemm.hpp>
#include <weft/quant/affine.hpp>
#include <weft/quant/calibration.hpp>
#include <weft/quant/gptq_checkpoint.hpp>

#include <algorithm>
#include <cctype>

// quant/rounding, quant/affine_quant, quant/calibration, quant/gptq_pack

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

// --- Rounding

template <class T>
void compare_rounding(Case& c, const SafetensorsFile& file) {
  const auto x = read_flat<T>(file, "x");
  const auto compare = [&](const std::string& name, T (*round)(T)) {
    std::vector<T> got(x.size());
    std::ranges::transform(x, got.begin(), round);
    compare_flat(c, file, name, got, {0, 0});
  };
  compare("half_even", [](T v) { return round_half_even(v); });
  compare("half_away", [](T v) { return round_half_away(v); });
  compare("half_up", [](T v) { return round_half_up(v); });
}

void run_rounding(const SafetensorsFile& file, Report& report) {
  report.run("", [&](Case& c) {
    compare_rounding<double>(c, file);
    compare_rounding<float>(c, file);
  });
}

// --- Affine and symmetric grids

/// The digits behind "sym" or "aff".
int bits_in(const std::string& name) {
  const auto digit = std::ranges::find_if(name, [](char ch) { return std::isdigit(ch) != 0; });
  weft::require(digit != name.end(), name, ": no number of bits");
  return std::stoi(name.substr(static_cast<std::size_t>(digit - name.begin())));
}

Block block_named(const std::string& name, const std::string& group) {
  if (name.ends_with("_tensor")) return Block::tensor();
  if (name.ends_with("_row")) return Block::row();
  if (name.ends_with("_col")) return Block::column();
  if (name.ends_with("_group")) return Block::group(std::stoi(group));
  fail(name + ": unknown granularity");
}

/// "sym8_row" and the like. Symmetric codes are narrow in 8 bits, else full.
Scheme scheme_named(const std::string& name, const std::string& group) {
  const int bits = bits_in(name);
  const bool symmetric = name.starts_with("sym");
  const CodeRange codes = !symmetric  ? unsigned_codes(bits)
                          : bits == 8 ? signed_codes(bits)
                                      : full_signed_codes(bits);
  return {codes, symmetric, block_named(name, group)};
}

void run_affine_case(Case& c, const SafetensorsFile& file, const std::string& x_name,
                     const std::string& name) {
  const auto x = file.read<float, 2>(x_name);
  const std::string scheme = name.substr(name.rfind('.') + 1);
  const auto q = quantize<std::int16_t>(x, scheme_named(scheme, metadata_of(file, "group")));
  const auto floats = [](const auto& span) { return std::vector<float>(span.begin(), span.end()); };
  require_codes(c, file, name + ".codes", q.codes.span());
  compare_flat(c, file, name + ".scale", floats(q.scale.span()));
  if (file.contains(name + ".zero")) require_codes(c, file, name + ".zero", q.zero.span());
  Tensor<float, 2> dq(x.shape());
  dequantize(q, dq.view());
  compare_flat(c, file, name + ".dq", floats(dq.span()));
  if (file.contains(name + ".sqnr_db")) {
    const double got = sqnr_db(View<const float, 2>(x), View<const float, 2>(dq));
    compare_flat(c, file, name + ".sqnr_db", std::vector<float>{static_cast<float>(got)});
  }
}

/// Cases are PREFIX.CASE.codes of the numbers PREFIX.x.
void run_affine(const SafetensorsFile& file, Report& report) {
  for (const std::string& tensor : file.names()) {
    if (!tensor.ends_with(".codes")) continue;
    const std::string name = tensor.substr(0, tensor.size() - 6);
    const std::size_t dot = name.rfind('.');
    const std::string x = dot == std::string::npos ? "x" : name.substr(0, dot) + ".x";
    report.run(name, [&](Case& c) { run_affine_case(c, file, x, name); });
  }
}

// --- Calibration

void compare_one(Case& c, const SafetensorsFile& file, const std::string& name, double got) {
  compare_flat(c, file, name, std::vector<double>{got});
}
void require_one(Case& c, const SafetensorsFile& file, const std::string& name, int got) {
  require_codes(c, file, name, std::vector<int>{got});
}

void compare_percentiles(Case& c, const SafetensorsFile& file, const std::vector<float>& x) {
  std::vector<double> values, sizes;
  for (const double p : read_flat<double>(file, "percentiles.p")) {
    values.push_back(percentile(x, p));
    sizes.push_back(percentile_absmax(x, p));
  }
  compare_flat(c, file, "percentiles.value", values);
  compare_flat(c, file, "percentiles.abs_value", sizes);
}

void compare_mse_grid(Case& c, const SafetensorsFile& file, const std::string& name,
                      const std::vector<float>& x) {
  const int bits = bits_in(name);
  const ClipChoice choice = mse_clip(x, bits);
  compare_one(c, file, name + ".clip", choice.clip);
  compare_one(c, file, name + ".sse", choice.error);
  require_one(c, file, name + ".index", choice.index);
  if (!file.contains(name + ".all_sse")) return;
  const auto errors = mse_clip_errors(x, bits);
  compare_flat(c, file, name + ".all_sse", std::vector<double>(errors.begin(), errors.end()));
}

void compare_shrink(Case& c, const SafetensorsFile& file, const std::string& name,
                    const std::vector<float>& x) {
  const bool symmetric = name.find("sym") != std::string::npos;
  const GridChoice choice = gptq_shrink_search(std::span<const float>(x), bits_in(name), symmetric);
  compare_one(c, file, name + ".scale", choice.grid.scale);
  compare_one(c, file, name + ".err", choice.error);
  require_one(c, file, name + ".index", choice.index);
}

/// The number behind "levels=" in the description of the entropy.
Index entropy_levels(const SafetensorsFile& file) {
  const std::string text = metadata_of(file, "entropy");
  const std::size_t at = text.find("levels=");
  return at == std::string::npos ? 128 : std::stoi(text.substr(at + 7));
}

void compare_entropy(Case& c, const SafetensorsFile& file, const std::vector<float>& x) {
  const Index bins = file.info("entropy.hist").shape.at(0);
  require_codes(c, file, "entropy.hist", magnitude_histogram(x, bins));
  const ClipChoice choice = entropy_threshold(x, bins, entropy_levels(file));
  compare_one(c, file, "entropy.threshold", choice.clip);
  compare_one(c, file, "entropy.kl", choice.error);
  require_one(c, file, "entropy.index", choice.index);
}

void run_calibration(const SafetensorsFile& file, Report& report) {
  const auto x = read_flat<float>(file, "x");
  report.run("absmax", [&](Case& c) { compare_one(c, file, "absmax", absmax(x)); });
  for (const std::string& name : case_names(file)) {
    report.run(name, [&](Case& c) {
      if (name == "percentiles") return compare_percentiles(c, file, x);
      if (name == "entropy") return compare_entropy(c, file, x);
      if (name.starts_with("mse_grid")) return compare_mse_grid(c, file, name, x);
      if (name.starts_with("gptq_mse")) return compare_shrink(c, file, name, x);
      c.fail("unknown calibrator");
    });
  }
}

// --- GPTQ checkpoints

void run_checkpoint_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto params = read_flat<std::int32_t>(file, name + ".params");
  weft::require(params.size() == 5, name, ".params: ", params.size(), " numbers");
  const auto qweight = file.read<std::int32_t, 2>(name + ".qweight");
  const auto qzeros = file.read<std::int32_t, 2>(name + ".qzeros");
  const auto scales = file.read<float, 2>(name + ".scales");
  const auto g_idx = file.read<std::int32_t, 1>(name + ".g_idx");
  GptqTensors tensors{qweight.view(), qzeros.view(), scales.view(),
                      g_idx.view(),   params[0],     params[3]};
  const GptqMatrix w = unpack_gptq(tensors);
  require_codes(c, file, name + ".codes", w.codes.span());
  require_codes(c, file, name + ".zeros", w.zeros.span());
  if (params[4] == 0) {  // groups in order need no list
    tensors.g_idx = {};
    require_codes(c, file, name + ".g_idx", unpack_gptq(tensors).g_idx.span());
  }
  const GptqWords words = pack_gptq(w);
  require_codes(c, file, name + ".qweight", words.qweight.span());
  require_codes(c, file, name + ".qzeros", words.qzeros.span());

  auto dq = unwritten<float, 2>(w.codes.shape());
  dequantize(w, dq);
  c.compare(name + ".dq", dq, file.read<double, 2>(name + ".dq"));
  const auto x = file.read<float, 2>(name + ".x");
  auto y = unwritten<float, 2>({x.extent(0), dq.extent(1)});
  gemm(x, dq, y);
  c.compare(name + ".y", y, file.read<double, 2>(name + ".y"));
}

void run_checkpoints(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { run_checkpoint_case(c, file, name); });
}

constexpr Mechanism kMechanisms[] = {
    {"quant/rounding", run_rounding},
    {"quant/affine_quant", run_affine},
    {"quant/calibration", run_calibration},
    {"quant/gptq_pack", run_checkpoints},
};

}  // namespace

std::span<const Mechanism> quant_grid_mechanisms() { return kMechanisms; }

}  // namespace golden
