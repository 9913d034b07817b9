#include "golden/metadata.hpp"
#include "golden/registry.hpp"
#include <weft/quant/awq.hpp>
#include <weft/quant/eqnet.hpp>
#include <weft/quant/hadamard.hpp>
#include <weft/quant/qhyvit.hpp>
#include <weft/quant/smoothquant.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

// quant/awq, quant/smoothquant, quant/hadamard, quant/qhyvit_select, quant/eqnet

namespace golden {
namespace {

using namespace weft;

template <class T, std::size_t Rank>
void require_equal(Case& c, const std::string& what, const Tensor<T, Rank>& got,
                   const Tensor<std::int32_t, Rank>& wanted) {
  bool same = got.shape() == wanted.shape();
  for (Index i = 0; same && i < got.size(); ++i) same = got.data()[i] == wanted.data()[i];
  c.require(what + " are equal", same);
}

Tensor<double, 1> one(double value) {
  Tensor<double, 1> x({1});
  x(0) = value;
  return x;
}

// --- AWQ

/// params: bits, group (not above 0: all inputs), grid.
quant::AwqOptions awq_options(const SafetensorsFile& file, const std::string& name) {
  const auto p = file.read<std::int32_t, 1>(name + ".params");
  return {.bits = p(0), .group = std::max(p(1), 0), .grid = p(2)};
}

void run_awq_scales(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<float, 2>(name + ".x"), w = file.read<float, 2>(name + ".w");
  const auto options = awq_options(file, name);
  c.compare("mean magnitudes", quant::mean_magnitude(x),
            file.read<double, 1>(name + ".act_mean_abs"));
  const std::array weights{w.view()};
  const auto found = quant::awq_scales(x, weights, options);
  c.compare("losses", found.loss, file.read<double, 1>(name + ".loss_per_ratio"));
  c.require("the best ratio is right",
            found.ratio == file.read<std::int32_t, 1>(name + ".best_index")(0));
  c.compare("scales", found.scale, file.read<double, 1>(name + ".scales"));

  auto scaled = quant::doubles(w);
  quant::multiply_inputs(scaled, found.scale);
  const auto rounded = quant::awq_quantize(scaled, options);
  require_equal(c, "codes", rounded.codes, file.read<std::int32_t, 2>(name + ".w_scaled_codes"));
  require_equal(c, "zeros", rounded.zero, file.read<std::int32_t, 2>(name + ".group_zero"));
  c.compare("scales of groups", rounded.scale, file.read<double, 2>(name + ".group_scale"));
  c.compare("weights", rounded.weight, file.read<double, 2>(name + ".w_scaled_dq"));
}

void run_awq_clips(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<float, 2>(name + ".x"), w = file.read<float, 2>(name + ".w");
  c.compare("clips", quant::search_awq_clips(w, x, awq_options(file, name)),
            file.read<double, 2>(name + ".best_max"));
}

void run_awq(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) {
      file.contains(name + ".best_max") ? run_awq_clips(c, file, name)
                                        : run_awq_scales(c, file, name);
    });
}

// --- SmoothQuant

template <class T>
void run_smoothquant_folds(Case& c, const SafetensorsFile& file, const std::string& name,
                           View<const double, 1> s) {
  for (const std::string part : {"ln_gamma", "ln_beta"}) {
    auto parameters = file.read<T, 1>(name + "." + part);
    quant::divide_channels(parameters, s);
    c.compare(part, parameters, file.read<double, 1>(name + "." + part + "_new"));
  }
  for (const std::string part : {"w", "w_other"}) {
    auto weight = file.read<T, 2>(name + "." + part);
    quant::multiply_inputs(weight, s);
    c.compare(part, weight, file.read<double, 2>(name + "." + part + "_new"));
  }
}

Tensor<double, 1> mean_square(const Tensor<double, 2>& a, const Tensor<double, 2>& b) {
  double sum = 0;
  for (Index i = 0; i < a.size(); ++i) {
    const double d = a.data()[i] - b.data()[i];
    sum += d * d;
  }
  return one(sum / static_cast<double>(a.size()));
}

void run_smoothquant_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<float, 2>(name + ".x"), w = file.read<float, 2>(name + ".w"),
             other = file.read<float, 2>(name + ".w_other");
  const auto expected = [&](const char* part) { return file.read<double, 1>(name + part); };
  Tensor<double, 1> a({x.extent(1)}), most({x.extent(1)});
  quant::raise_to_absmax(a, x);
  c.compare("activations", a, expected(".act_absmax"));
  quant::raise_to_absmax(most, w);
  quant::raise_to_absmax(most, other);
  const auto s = quant::smoothquant_scales(a, most, expected(".alpha")(0));
  for (double& m : most.span()) m = std::max(m, 1e-5);
  c.compare("weights", most, expected(".w_absmax"));
  c.compare("s", s, expected(".s"));
  run_smoothquant_folds<double>(c, file, name, s);
  run_smoothquant_folds<float>(c, file, name, s);

  Tensor<double, 2> smooth = quant::doubles(x), weight = quant::doubles(w);
  const auto plain = quant::int8_rows_product(quant::quantize_int8_rows(smooth),
                                              quant::quantize_int8_rows(weight));
  quant::multiply_inputs(weight, s);
  quant::divide_channels(smooth.view().transpose(0, 1), s);
  const auto left = quant::quantize_int8_rows(smooth), right = quant::quantize_int8_rows(weight);
  require_equal(c, "codes of x", left.codes, file.read<std::int32_t, 2>(name + ".x_codes"));
  require_equal(c, "codes of w", right.codes, file.read<std::int32_t, 2>(name + ".w_codes"));
  c.compare("scales of x", left.scale, expected(".x_scale"));
  c.compare("scales of w", right.scale, expected(".w_scale"));
  const auto y = quant::int8_rows_product(left, right);
  c.compare("y", y, file.read<double, 2>(name + ".y_quant"));
  const auto exact = file.read<double, 2>(name + ".y_fp");
  c.compare("error", mean_square(y, exact), expected(".mse"));
  c.compare("error without", mean_square(plain, exact), expected(".mse_without_smoothing"));
}

void run_smoothquant(const SafetensorsFile& file, Report& report) {
  for (const std::string& name : case_names(file))
    report.run(name, [&](Case& c) { run_smoothquant_case(c, file, name); });
}

// --- Hadamard

template <class T>
void run_hadamard_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 2>(name + ".x");
  auto y = unwritten<T, 2>(x.shape());
  quant::hadamard_transform(x, y);
  c.compare("fwht", y, file.read<double, 2>(name + ".fwht"));
  const auto signs = file.read<T, 1>(name + ".signs");
  const quant::HadamardRotation<T> rotation(signs.view());
  for (const std::string part : {"x", "w"}) {
    const auto plain = file.read<T, 2>(name + "." + part);
    auto rotated = unwritten<T, 2>(plain.shape());
    rotation.apply(plain, rotated);
    c.compare(part + "_rot", rotated, file.read<double, 2>(name + "." + part + "_rot"));
  }
}

void run_hadamard(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_hadamard_case<decltype(type)>(c, file, name);
  });
}

// --- Q-HyViT

void run_qhyvit(const SafetensorsFile& file, Report& report) {
  report.run("", [&](Case& c) {
    const auto found = quant::qhyvit_select(file.read<float, 2>("w"), file.read<float, 2>("x"),
                                            file.read<float, 2>("grad_out"),
                                            file.read<std::int32_t, 1>("bits")(0));
    const auto best = file.read<std::int32_t, 1>("best");
    c.require("the granularity is right", found.choice().per_channel == (best(0) == 1));
    c.require("the scheme is right", found.choice().symmetric == (best(1) == 1));
    for (const auto& option : found.options) {
      const std::string name = std::string(option.per_channel ? "channel_" : "layer_") +
                               (option.symmetric ? "sym" : "asym");
      c.compare(name + " error", one(option.error), file.read<double, 1>(name + ".err"));
      require_equal(c, name + " indices", option.index,
                    file.read<std::int32_t, 1>(name + ".index"));
      c.compare(name + " weights", option.weight, file.read<double, 2>(name + ".w_dq"));
    }
  });
}

// --- EQ-Net

void compare_grids(Case& c, const SafetensorsFile& file, const std::string& name,
                   std::span<const quant::ElasticGrid> grids) {
  Tensor<double, 1> scale({static_cast<Index>(grids.size())}), beta(scale.shape());
  for (std::size_t i = 0; i < grids.size(); ++i) {
    scale.data()[i] = grids[i].scale;
    beta.data()[i] = grids[i].beta;
  }
  c.compare(name + " scales", scale, file.read<double, 1>(name + ".scale"));
  if (file.contains(name + ".beta"))
    c.compare(name + " offsets", beta, file.read<double, 1>(name + ".beta"));
}

void run_elastic_weight(Case& c, const SafetensorsFile& file, quant::ElasticConfig config,
                        const std::string& name) {
  const auto w = file.read<float, 2>("w");
  quant::ElasticWeight weight(w);
  compare_grids(c, file, name, std::as_const(weight).grids(config));
  Tensor<std::int32_t, 2> codes(w.shape());
  auto values = unwritten<double, 2>(w.shape());
  weight.quantize(config, codes, values);
  require_equal(c, name + " codes", codes, file.read<std::int32_t, 2>(name + ".codes"));
  c.compare(name + " values", values, file.read<double, 2>(name + ".dq"));
  if (!file.contains(name + ".dq_official_absbeta")) return;
  for (quant::ElasticGrid& grid : weight.grids(config)) grid.beta = std::abs(grid.beta);
  weight.quantize(config, codes, values);
  c.compare(name + " values by |beta|", values,
            file.read<double, 2>(name + ".dq_official_absbeta"));
}

void run_elastic_activation(Case& c, const SafetensorsFile& file, const std::string& input,
                            quant::ElasticConfig config, const std::string& name) {
  const auto x = file.read<float, 2>(input);
  const quant::ElasticActivation activation(x, config.bits, config.symmetric);
  compare_grids(c, file, name, {&activation.grid, 1});
  Tensor<std::int32_t, 2> codes(x.shape());
  auto values = unwritten<double, 2>(x.shape());
  for (Index i = 0; i < x.size(); ++i) {
    const auto number = activation.round(static_cast<double>(x.data()[i]));
    codes.data()[i] = number.code;
    values.data()[i] = number.value;
  }
  require_equal(c, name + " codes", codes, file.read<std::int32_t, 2>(name + ".codes"));
  c.compare(name + " values", values, file.read<double, 2>(name + ".dq"));
}

/// Every configuration that the file has, at one number of bits.
void run_elastic_bits(Case& c, const SafetensorsFile& file, int bits) {
  for (const bool symmetric : {false, true}) {
    const std::string tail = std::to_string(bits) + (symmetric ? "_sym" : "_asym");
    for (const bool channel : {false, true}) {
      const std::string name = "w" + tail + (channel ? "_channel" : "_layer");
      if (file.contains(name + ".scale"))
        run_elastic_weight(c, file, {bits, symmetric, channel}, name);
    }
    if (file.contains("x" + tail + ".scale"))
      run_elastic_activation(c, file, "x", {bits, symmetric}, "x" + tail);
    if (file.contains("xpos" + tail + ".scale"))
      run_elastic_activation(c, file, "x_pos", {bits, symmetric}, "xpos" + tail);
  }
}

void run_eqnet(const SafetensorsFile& file, Report& report) {
  const auto all_bits = file.read<std::int32_t, 1>("bits");
  for (const std::int32_t bits : all_bits.span())
    report.run(std::to_string(bits) + " bits", [&](Case& c) { run_elastic_bits(c, file, bits); });
  report.run("distribution", [&](Case& c) {
    const quant::WeightMoments moments(file.read<float, 2>("w"));
    const std::array layers{moments, moments};  // the first does not count
    const quant::DistributionLoss loss(layers);
    c.compare("kurtosis", one(moments.kurtosis), file.read<double, 1>("kurtosis"));
    c.compare("skewness", one(moments.skewness), file.read<double, 1>("skewness"));
    c.compare("its loss", one(loss.kurtosis), file.read<double, 1>("kurtosis_loss"));
    c.compare("its loss", one(loss.skewness), file.read<double, 1>("skewness_loss"));
  });
}

constexpr Mechanism kMechanisms[] = {
    {"quant/awq", run_awq},           {"quant/smoothquant", run_smoothquant},
    {"quant/hadamard", run_hadamard}, {"quant/qhyvit_select", run_qhyvit},
    {"quant/eqnet", run_eqnet},
};

}  // namespace

std::span<const Mechanism> quant_method_mechanisms() { return kMechanisms; }

}  // namespace golden
