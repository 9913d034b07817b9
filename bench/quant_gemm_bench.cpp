/// quant/...: products of 8-bit integers, and linear operators with weights of 8 and 4 bits beside
/// the dense fp32 operator of the same size (counter of_plain).
#include "support/gemm_cases.hpp"
#include "support/inputs.hpp"
#include "support/operator_rows.hpp"
#include <weft/quant/four_bit_operator.hpp>
#include <weft/quant/llm_int8.hpp>

namespace {

using bench::add_operator;
using bench::Floor;
using bench::GemmCase;
using bench::Index;
using bench::uniform;
using namespace weft::quant;

template <class B>
weft::Tensor<B, 2> bytes(Index rows, Index cols) {
  const auto x = uniform<float>({rows, cols});
  weft::Tensor<B, 2> out({rows, cols});
  for (Index i = 0; i < x.size(); ++i)
    out.data()[i] = static_cast<B>(x.data()[i] * 127 + (std::is_signed_v<B> ? 0 : 128));
  return out;
}

void add_int8_gemm(const GemmCase& g) {
  g.row().add([g](const weft::Context& context) {
    return [&context, a = bytes<std::uint8_t>(g.m, g.k),
            b = PackedInt8<>(bytes<std::int8_t>(g.k, g.n)),
            c = weft::Tensor<std::int32_t, 2>({g.m, g.n})]() mutable {
      gemm_int8(a, {}, b, {}, c, context);
    };
  });
}

FourBitOperator<> four_bit(const weft::Tensor<float, 2>& w, Inputs inputs) {
  const Scheme scheme{full_signed_codes(4), true, Block::group(32)};
  return FourBitOperator<>(FourBitWeight<>(quantize<std::int8_t>(w, scheme)), {}, inputs);
}

const bench::Rows rows([] {
  for (const GemmCase& g : bench::kGemmCases)
    if (g.type == bench::Type::u8s8) add_int8_gemm(g);
  using W = weft::Tensor<float, 2>;
  add_operator<float>("int8_dynamic", "f32", Floor::int8, 8,
                      [](const W& w) { return Int8Operator<>(w); });
  add_operator<float>("llm_int8", "f32", Floor::int8, 8,
                      [](const W& w) { return LlmInt8Operator<>(w); });
  add_operator<float>("int4_int8", "f32", Floor::int8, 4.5,
                      [](const W& w) { return four_bit(w, Inputs::int8); });
  add_operator<float>("int4_exact", "f32", Floor::fma_f32, 4.5,
                      [](const W& w) { return four_bit(w, Inputs::exact); });
  add_operator<weft::bf16>("int4_exact", "bf16", Floor::bf16, 4.5,
                           [](const W& w) { return four_bit(w, Inputs::exact); });
});

}  // namespace
