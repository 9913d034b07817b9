#include "golden/integers.hpp"
#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/quant/integer_gelu.hpp>
#include <weft/quant/integer_layer_norm.hpp>
#include <weft/quant/integer_softmax.hpp>

// quant/int_nonlinear

namespace golden {
namespace {

using namespace weft;
using namespace weft::quant;

void run_softmax_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<std::int32_t, 2>(name + ".x_int");
  const double scale = scalar<double>(file, name + ".scale");
  const IntegerExp exp(scale);
  c.require("x0", -exp.ln2 == scalar<std::int32_t>(file, name + ".x0_int"));
  c.require("b", exp.b == scalar<std::int32_t>(file, name + ".b_int"));
  c.require("c", exp.c == scalar<double>(file, name + ".c_int"));
  Tensor<double, 2> e(x.shape());
  for (Index r = 0; r < x.extent(0); ++r) {
    const double largest = *std::max_element(&x(r, 0), &x(r, 0) + x.extent(1));
    for (Index j = 0; j < x.extent(1); ++j) e(r, j) = exp(Vec<double>(x(r, j) - largest)).get(0);
  }
  c.compare("exp_int", e, file.read<double, 2>(name + ".exp_int"), {0, 0});

  const IntegerSoftmax softmax{scale, scalar<std::int32_t>(file, name + ".ibert_output_bit"),
                               scalar<double>(file, name + ".ibert_exp16_scale")};
  Tensor<std::int32_t, 2> codes(x.shape());
  integer_softmax(softmax, x, codes.view());
  compare_integers(c, "ibert_out_int", codes, file.read<std::int32_t, 2>(name + ".ibert_out_int"));
  integer_softmax(LogIntegerSoftmax{scale, scalar<std::int32_t>(file, name + ".bits")}, x,
                  codes.view());
  compare_integers(c, "log_codes", codes, file.read<std::int32_t, 2>(name + ".log_codes"));
}

void run_gelu_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto flat = file.read<std::int32_t, 1>(name + ".x_int");
  const auto x = unsqueeze(flat.view());
  const IntegerGelu gelu(scalar<double>(file, name + ".scale"));
  Tensor<std::int32_t, 1> erf(flat.shape());
  for (Index i = 0; i < flat.size(); ++i)
    erf(i) = static_cast<std::int32_t>(gelu.erf(Vec<double>(flat(i))).get(0));
  compare_integers(c, "erf_int", erf, file.read<std::int32_t, 1>(name + ".erf_int"));
  c.require("shift_int", gelu.shift() == scalar<std::int32_t>(file, name + ".shift_int"));

  Tensor<std::int64_t, 1> y(flat.shape());
  integer_gelu(gelu, x, unsqueeze(y.view()));
  compare_integers(c, "out_int", y, file.read<std::int64_t, 1>(name + ".out_int"));
  auto out = unwritten<double, 1>(flat.shape());
  for (Index i = 0; i < y.size(); ++i) out(i) = static_cast<double>(y(i)) * gelu.scale();
  c.compare("out", out, file.read<double, 1>(name + ".out"), {1e-13, 0});
}

void run_norm_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<std::int32_t, 3>(name + ".x_int");
  const Index rows = x.extent(0) * x.extent(1), channels = x.extent(2);
  const auto flat = x.view().reshape<2>({rows, channels});
  const auto gamma = file.read<float, 1>(name + ".gamma");
  const auto beta = file.read<float, 1>(name + ".beta");
  const auto read_rows = [&](const char* what) { return file.read<double, 3>(name + what); };
  const auto mean = read_rows(".mean_int"), std = read_rows(".std_int"),
             factor = read_rows(".factor"), y = read_rows(".y_int");
  Tensor<std::int64_t, 1> n({channels});
  for (Index r = 0; r < rows; ++r) {
    const auto moments = integer_normalize(flat.select(0, r), n.view());
    c.require("mean_int", static_cast<double>(moments.mean) == mean.data()[r]);
    c.require("std_int", static_cast<double>(moments.std) == std.data()[r]);
    c.require("factor", static_cast<double>(moments.factor) == factor.data()[r]);
    for (Index d = 0; d < channels; ++d)
      c.require("y_int", static_cast<double>(n(d)) == y.data()[r * channels + d]);
  }
  const IntegerLayerNorm norm(gamma, beta);
  const auto bias = file.read<double, 1>(name + ".bias_int");
  for (Index d = 0; d < channels; ++d) c.require("bias_int", norm.bias(d) == bias(d));
  auto out = unwritten<double, 3>(x.shape());
  norm.apply(flat, out.view().reshape<2>({rows, channels}));
  c.compare("out", out, file.read<double, 3>(name + ".out"), {1e-12, 0});
}

void run_sqrt_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto n = file.read<std::int64_t, 1>(name + ".n");
  Tensor<std::int64_t, 1> root(n.shape());
  for (Index i = 0; i < n.size(); ++i)
    root(i) = static_cast<std::int64_t>(integer_sqrt(static_cast<std::uint64_t>(n(i))));
  compare_integers(c, "floor_sqrt", root, file.read<std::int64_t, 1>(name + ".floor_sqrt"));
}

void run_int_nonlinear(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file)) {
    report.run(name, [&](Case& c) {
      if (file.contains(name + ".exp_int")) return run_softmax_case(c, file, name);
      if (file.contains(name + ".erf_int")) return run_gelu_case(c, file, name);
      if (file.contains(name + ".bias_int")) return run_norm_case(c, file, name);
      if (file.contains(name + ".floor_sqrt")) return run_sqrt_case(c, file, name);
      c.fail("none of softmax, GELU, LayerNorm and square root");
    });
  }
}

constexpr Mechanism kMechanisms[] = {{"quant/int_nonlinear", run_int_nonlinear}};

}  // namespace

std::span<const Mechanism> quant_integer_mechanisms() { return kMechanisms; }

}  // namespace golden
