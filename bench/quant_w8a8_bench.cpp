/// quant/w8a8, quant/llm_fp4: a linear layer with fixed ranges on 8-bit integers, and one whose
/// weight is in the 4-bit floating-point format that a search has found; `of_plain` compares with
/// fp32.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/core/gemm.hpp>
#include <weft/quant/four_bit_operator.hpp>
#include <weft/quant/llm_fp4.hpp>
#include <weft/quant/w8a8.hpp>

namespace {

using bench::Index;
using bench::uniform;
using weft::Tensor;

constexpr Index M = 256, N = 1024, K = 1024;

bench::Row row(const char* variant) {
  return {.name = bench::row_name(std::string("quant/") + variant + "/forward/f32",
                                  {{"M", M}, {"N", N}, {"K", K}}),
          .flops = 2.0 * M * N * K};
}

/// Times op.apply beside the product in fp32.
template <class Operator>
auto beside_floats(Operator op, const Tensor<float, 2>& weight, const Tensor<float, 2>& x,
                   const weft::Context& context) {
  auto call = [&context, op = std::move(op), x = x.clone(),
               y = Tensor<float, 2>({M, N})]() mutable { op.apply(x.view(), y.view(), context); };
  auto plain = [&context, w = weft::PackedMatrix<float>(weight.view().transpose(0, 1)),
                x = x.clone(),
                y = Tensor<float, 2>({M, N})]() mutable { weft::gemm(x, w, y, context); };
  return bench::Versus{std::move(call), std::move(plain)};
}

const bench::Rows rows([] {
  row("w8a8").add([](const weft::Context& context) {
    const auto weight = uniform<float>({N, K}, 2), x = uniform<float>({M, K}, 3);
    const auto input = weft::quant::activation_grid(weft::quant::min_max(x.span()));
    auto op =
        weft::quant::w8a8_operator(weight, {}, weft::quant::weight_grid<float>(weight), input);
    return beside_floats(std::move(op), weight, x, context);
  });
  row("llm_fp4").add([](const weft::Context& context) {
    const auto weight = uniform<float>({N, K}, 2), x = uniform<float>({M, K}, 3);
    // Where a search starts: what it would find takes no other time.
    const auto layer = weft::quant::llm_fp4_search(x.view().slice(0, 0, 1), weight, 4, 0);
    weft::quant::FourBitOperator<> op(weft::quant::pack_weight(layer, weight));
    return beside_floats(std::move(op), weight, x, context);
  });
});

}  // namespace
