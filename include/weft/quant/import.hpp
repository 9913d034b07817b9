#pragma once

#include <weft/quant/float8_operator.hpp>
#include <weft/quant/four_bit_operator.hpp>
#include <weft/quant/import_ggml.hpp>
#include <weft/quant/import_gptq.hpp>
#include <weft/quant/import_tables.hpp>

/// Weights [out, in] of other programs' formats as the operators keep them. Codes are moved, never
/// decoded and rounded again; only scales may be rounded, to fp16:
///
///   source                          result            scales
///   ggml Q4_0, Q4_1, TQ2_0          FourBitWeight     exact
///   ggml Q4_K                       FourBitWeight     d sc and dmin m rounded to fp16
///   MXFP4, of ggml or mx.hpp        FourBitWeight     exact
///   bitsandbytes NF4, FP4           FourBitWeight     absmax rounded to fp16
///   LLM-FP4 E3M0, E2M1, E1M2        FourBitWeight     2^-bias rounded to fp16
///   GPTQ, 2 to 4 bits               FourBitOperator   rounded to fp16, as are offsets
///   GPTQ, 8 bits                    EightBitOperator  exact
///   ggml Q8_0                       EightBitWeight    exact
///   8-bit floats                    Float8Weight      exact
///
///   auto w = four_bit_weight(blocks_in<Q4_K>(bytes), rows, cols);
///   FourBitOperator<> op(std::move(w), bias);
///   FourBitOperator<> other = four_bit_operator(unpack_gptq(tensors), bias, Inputs::int8);
///
/// Those of integers run with Inputs::int8 too: Q4_0, Q4_1, Q4_K, TQ2_0, E1M2 and GPTQ.
///
/// Results of gptq() and awq_quantize() are matrices of codes already: FourBitWeight and, of more
/// than 4 bits, EightBitWeight take their quantized_matrix(...), and the operators of GPTQ layers
/// the checkpoint_matrix(...) of a gptq() that has permuted its groups. Int8Operator, with one
/// scale per output, is for weights that are quantized here.
namespace weft::quant {

/// 8-bit floats of a checkpoint: codes [out, in], scale [out] or [1], which multiplies. Throws
/// where a code is no finite number, and as Float8Weight does. Scales of blocks of inputs are not
/// for this operator.
template <FloatFormat F = kE4M3, class A = DefaultArch>
Float8Weight<F, A> float8_weight(View<const std::uint8_t, 2> codes, View<const float, 1> scale) {
  const Index rows = codes.extent(0);
  require(scale.extent(0) == 1 || scale.extent(0) == rows, "float8_weight: ", scale.extent(0),
          " scales for ", rows, " rows, wanted one each or one for all");
  for (Index o = 0; o < rows; ++o)
    for (Index k = 0; k < codes.extent(1); ++k)
      require((codes(o, k) & (F.sign_bit() - 1)) <= F.max_code(), "float8_weight: code ",
              int{codes(o, k)}, " of (", o, ", ", k, ") is no finite number");
  Tensor<float, 1> scales({rows});
  for (Index o = 0; o < rows; ++o) scales(o) = scale(scale.extent(0) == 1 ? 0 : o);
  return Float8Weight<F, A>(codes, scales);
}

}  // namespace weft::quant
