/// quant/<method>/...: rotation of activations, which runs with the model, beside a copy of as many
/// bytes; and methods that prepare a weight [R, K] once, from T tokens.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/quant/awq.hpp>
#include <weft/quant/eqnet.hpp>
#include <weft/quant/gptq.hpp>
#include <weft/quant/hadamard.hpp>
#include <weft/quant/qhyvit.hpp>
#include <weft/quant/smoothquant.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

namespace {

using bench::Floor;
using bench::Index;
using bench::uniform;
using weft::Context;
using weft::Tensor;

/// One read and one write of every number.
bench::Row rotation_row(const char* name, Index rows, Index n) {
  const double numbers = static_cast<double>(rows * n);
  return {.name = bench::row_name(std::string("quant/hadamard/") + name + "/f32",
                                  {{"rows", rows}, {"n", n}}),
          .flops = numbers * std::log2(static_cast<double>(n)),
          .bytes = 8 * numbers,
          .floor = Floor::read};
}

void add_rotation(Index rows, Index n) {
  rotation_row("forward", rows, n).add([=](const Context& context) {
    return [&context,
            rotation = weft::quant::HadamardRotation<float>(weft::quant::random_signs(n, 1).view()),
            x = uniform<float>({rows, n}),
            y = uniform<float>({rows, n})]() mutable { rotation.apply(x, y, context); };
  });
  bench::Row copy = rotation_row("copy", rows, n);
  copy.flops = 0;
  copy.add([=] {
    return [x = uniform<float>({rows, n}), y = uniform<float>({rows, n})]() mutable {
      std::copy_n(x.data(), x.size(), y.data());
    };
  });
}

bench::Row method_row(const char* name, Index T, Index R, Index K, double flops) {
  return {.name = bench::row_name(std::string("quant/") + name + "/forward/f64",
                                  {{"T", T}, {"R", R}, {"K", K}}),
          .flops = flops,
          .floor = Floor::fma_f64};
}

void add_methods(Index T, Index R, Index K) {
  const double t = static_cast<double>(T), r = static_cast<double>(R), k = static_cast<double>(K);
  // Factorisation, triangular inverse and updates, without the Hessian.
  method_row("gptq", T, R, K, 4. / 3 * k * k * k + r * k * k).add([=](const Context& context) {
    weft::quant::GptqHessian hessian(K);
    hessian.add_batch(uniform<float>({T, K}, 2), context);
    return [&context, w = uniform<float>({R, K}), hessian = std::move(hessian)] {
      weft::quant::gptq(w, hessian, {.group = 32}, context);
    };
  });
  method_row("awq", T, R, K, 2 * t * k * k + 20 * 2 * r * k * k).add([=](const Context& context) {
    return [&context, w = uniform<float>({R, K}), x = uniform<float>({T, K}, 2)] {
      const std::array weights{w.view()};
      weft::quant::awq_scales(x, weights, {.group = 32}, context);
    };
  });
  method_row("qhyvit", T, R, K, 400 * 2 * t * r * k).add([=](const Context& context) {
    return [&context, w = uniform<float>({R, K}), x = uniform<float>({T, K}, 2),
            g = uniform<float>({T, R}, 3)] { weft::quant::qhyvit_select(w, x, g, 8, context); };
  });
  method_row("smoothquant", T, R, K, 0).add([=] {
    return [w = uniform<float>({R, K}), x = uniform<float>({T, K}, 2)] {
      const std::array channels{w.extent(1)};
      Tensor<double, 1> a(channels), most(channels);
      weft::quant::raise_to_absmax(a, x);
      weft::quant::raise_to_absmax(most, w);
      weft::quant::smoothquant_scales(a, most);
    };
  });
  method_row("eqnet", T, R, K, 0).add([=] {
    return [w = uniform<float>({R, K})] { const weft::quant::ElasticWeight weight(w); };
  });
}

const bench::Rows rows([] {
  for (const Index count : {1, 16, 4096}) add_rotation(count, 4096);
  add_rotation(4096, 128);
  add_methods(256, 256, 256);
});

}  // namespace
