/// quant/...: linear operators with weights of other programs' formats, beside the dense fp32
/// operator of the same size (counter of_plain).
#include "support/inputs.hpp"
#include "support/operator_rows.hpp"
#include <weft/quant/import.hpp>

#include <vector>

namespace {

using bench::add_operator;
using bench::Floor;
using weft::Index;
using namespace weft::quant;
using Matrix = weft::Tensor<float, 2>;

FourBitOperator<> nf4(const Matrix& w) {
  const auto blocks = quantize_book16(w.span(), Book16::nf4, 64);
  return FourBitOperator<>(four_bit_weight(blocks, w.extent(0), w.extent(1)));
}

FourBitOperator<> mxfp4(const Matrix& w) {
  return FourBitOperator<>(four_bit_weight(quantize_mx(w, kE2M1)));
}

FourBitOperator<> q4_1(const Matrix& w, Inputs inputs) {
  std::vector<Q4_1> blocks(static_cast<std::size_t>(w.size() / Q4_1::kValues));
  encode_blocks<Q4_1>(w.span(), blocks);
  return FourBitOperator<>(four_bit_weight<Q4_1>(blocks, w.extent(0), w.extent(1)), {}, inputs);
}

/// A GPTQ layer with groups of 128 inputs that are not neighbours.
FourBitOperator<> gptq_act_order(const Matrix& w) {
  constexpr Index kGroup = 128;
  const Index rows = w.extent(0), cols = w.extent(1), groups = cols / kGroup;
  const auto q = quantize<std::uint8_t>(w, {unsigned_codes(4), false, Block::group(kGroup)});
  GptqMatrix layer{4, weft::Tensor<std::uint8_t, 2>({cols, rows}),
                   weft::Tensor<std::int32_t, 2>({groups, rows}), Matrix({groups, rows}),
                   weft::Tensor<std::int32_t, 1>({cols})};
  for (Index k = 0; k < cols; ++k) {
    layer.g_idx(k) = static_cast<std::int32_t>(k % groups);
    for (Index o = 0; o < rows; ++o) layer.codes(k, o) = q.codes(o, k);
  }
  for (Index g = 0; g < groups; ++g)
    for (Index o = 0; o < rows; ++o) {
      layer.zeros(g, o) = q.zero(o, g);
      layer.scales(g, o) = q.scale(o, g);
    }
  return four_bit_operator(layer, {}, Inputs::int8);
}

const bench::Rows rows([] {
  add_operator<float>("nf4", "f32", Floor::fma_f32, 4.25, nf4);
  add_operator<float>("mxfp4", "f32", Floor::fma_f32, 4.5, mxfp4);
  add_operator<float>("q4_1", "f32", Floor::fma_f32, 5,
                      [](const Matrix& w) { return q4_1(w, Inputs::exact); });
  add_operator<float>("q4_1_int8", "f32", Floor::int8, 5,
                      [](const Matrix& w) { return q4_1(w, Inputs::int8); });
  add_operator<float>("gptq_act_order_int8", "f32", Floor::int8, 4.25, gptq_act_order);
  const auto float8 = [](const Matrix& w) { return Float8Operator<>(w); };
  add_operator<float>("float8", "f32", Floor::fma_f32, 8, float8);
  add_operator<weft::bf16>("float8", "bf16", Floor::bf16, 8, float8);
});

}  // namespace
