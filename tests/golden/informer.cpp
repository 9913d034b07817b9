#include "golden/attention.hpp"
#include "golden/registry.hpp"
#include <weft/attention/kernelized/informer.hpp>
#include <weft/attention/kernelized/informer_distil.hpp>
#include <weft/attention/kernelized/synthesizer.hpp>

// linear/informer_probsparse, linear/informer_distil, linear/synthesizer

namespace golden {
namespace {

using namespace weft;

std::int32_t option(const SafetensorsFile& file, const std::string& name) {
  return file.read<std::int32_t, 1>(name)(0);
}

template <class T>
void run_sparse_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const Inputs<T> in(file, name);
  const auto samples = file.read<std::int32_t, 2>(name + ".index_sample");
  const Index count = option(file, name + ".n_top"), factor = option(file, name + ".factor");
  c.require("n_top", prob_sparse_count(in.q.extent(2), factor) == count);
  c.require("samples", prob_sparse_count(in.k.extent(2), factor) == samples.extent(1));
  const ProbSparse mixer{samples.view(), count, option(file, name + ".causal") != 0};
  const auto expected = file.read<std::int32_t, 3>(name + ".top_sorted");
  Tensor<std::int32_t, 3> positions(expected.shape());
  select_queries(mixer, in.q, in.k, positions.view());
  c.require("top_sorted",
            std::equal(expected.data(), expected.data() + expected.size(), positions.data()));
  auto out = unwritten<T, 4>({in.q.extent(0), in.q.extent(1), in.q.extent(2), in.v.extent(3)});
  forward(mixer, in.q, in.k, in.v, out);
  c.compare("out", out, file.read<double, 4>(name + ".out"));
}

void run_sparse(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_sparse_case<decltype(type)>(c, file, name);
  });
}

template <class T>
void run_distil_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 3>(name + ".x"), weight = file.read<T, 3>(name + ".conv_weight");
  const auto read = [&](const char* part) { return file.read<T, 1>(name + "." + part); };
  const auto bias = read("conv_bias"), gamma = read("bn_weight"), beta = read("bn_bias");
  const auto mean = read("bn_mean"), variance = read("bn_var");
  const InformerDistil<T> layer{weight.view(),
                                bias.view(),
                                gamma.view(),
                                beta.view(),
                                mean.view(),
                                variance.view(),
                                option(file, name + ".circular_pad")};
  const auto expected = file.read<double, 3>(name + ".out");
  auto out = unwritten<T, 3>(expected.shape());
  forward(layer, x, out);
  c.compare("out", out, expected);
}

void run_distil(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_distil_case<decltype(type)>(c, file, name);
  });
}

// --- Synthesizer

template <class T>
void run_synthesizer_case(Case& c, const SafetensorsFile& file, const std::string& name) {
  const auto x = file.read<T, 3>(name + ".x"), v = file.read<T, 3>(name + ".v");
  const auto matrix = [&](const char* part) { return file.read<T, 2>(name + "." + part); };
  const auto vector = [&](const char* part) { return file.read<T, 1>(name + "." + part); };
  const auto w1 = matrix("W1"), w2 = matrix("W2"), r = matrix("R"), r1 = matrix("R1");
  const auto r2 = matrix("R2"), wa = matrix("WA"), wb = matrix("WB");
  const auto b1 = vector("b1"), b2 = vector("b2");
  const bool causal = option(file, name + ".causal") != 0;
  // One head.
  const auto as_head = [](const auto& t) { return unsqueeze(t).transpose(0, 1); };
  const auto check = [&](const char* what, auto run) {
    auto out = unwritten<T, 3>(v.shape());
    run(as_head(out.view()));
    c.compare(what, out, file.read<double, 3>(name + "." + what));
  };
  const auto one = [](const auto& t) { return unsqueeze(t.view()); };
  check("dense_out", [&](auto out) {
    forward(SynthesizerDense<T>{one(w1), one(b1), one(w2), one(b2), causal}, as_head(x.view()),
            as_head(v.view()), out);
  });
  check("random_out", [&](auto out) {
    forward(SynthesizerRandom<T>{one(r), causal}, as_head(v.view()), out);
  });
  check("factorized_random_out", [&](auto out) {
    forward(SynthesizerFactorizedRandom<T>{one(r1), one(r2), causal}, as_head(v.view()), out);
  });
  const auto outer = [&](SynthesizerTiling tiling) {
    return [&, tiling](auto out) {
      forward(SynthesizerFactorizedDense<T>{one(wa), one(wb), tiling, causal}, as_head(x.view()),
              as_head(v.view()), out);
    };
  };
  check("factorized_dense_tile_tile_out", outer(SynthesizerTiling::tile));
  check("factorized_dense_repeat_tile_out", outer(SynthesizerTiling::repeat));
}

void run_synthesizer(const SafetensorsFile& file, Report& report) {
  run_cases(file, report, [&](auto type, Case& c, const std::string& name) {
    run_synthesizer_case<decltype(type)>(c, file, name);
  });
}

constexpr Mechanism kMechanisms[] = {
    {"linear/informer_probsparse", run_sparse},
    {"linear/informer_distil", run_distil},
    {"linear/synthesizer", run_synthesizer},
};

}  // namespace

std::span<const Mechanism> informer_mechanisms() { return kMechanisms; }

}  // namespace golden
