#include "compressed_linear.hpp"

#include <weft/quant/float_format.hpp>
#include <weft/quant/nf4.hpp>

namespace compress_model {

namespace {

using weft::quant::FourBitTable;

/// The values of the codes.
FourBitTable table_of(Search search) {
  if (search == Search::nf4) return weft::quant::kNf4Values;
  if (search == Search::fp4) return weft::quant::kFloatValues<weft::quant::kE2M1>;
  return weft::quant::integer_table(0);
}

weft::quant::QuantizedMatrix<std::int8_t> matrix_of(const CompressedLinear& layer) {
  weft::quant::QuantizedMatrix<std::int8_t> out{
      .codes = Tensor<std::int8_t, 2>(layer.codes.shape()),
      .scale = layer.scale.clone(),
      .zero = {},
      .block = {1, std::max<Index>(layer.cols, 1)},
      .range = weft::quant::signed_codes(8)};
  std::transform(layer.codes.span().begin(), layer.codes.span().end(), out.codes.data(),
                 [](std::uint8_t code) { return static_cast<std::int8_t>(code); });
  return out;
}

View<const float, 1> bias_of(const CompressedLinear& layer) {
  return layer.bias.size() == 0 ? View<const float, 1>{} : View<const float, 1>(layer.bias);
}

}  // namespace

Index CompressedLinear::bytes() const noexcept {
  const bool halves = method.format == Format::four_bit;
  const Index codes_bytes = halves ? rows * weft::ceil_div(cols, 2) : rows * cols;
  return codes_bytes + (halves ? 2 : 4) * (scale.size() + offset.size()) + 4 * bias.size();
}

Linear CompressedLinear::make_operator() const {
  using namespace weft::quant;
  if (method.format == Format::int8) return Int8Operator<>(matrix_of(*this), bias_of(*this));
  if (method.format == Format::llm_int8) return LlmInt8Operator<>(matrix_of(*this), bias_of(*this));
  if (method.format == Format::float8)
    return Float8Operator<>(Float8Weight<kE4M3>(codes, scale.view().select(1, 0)), bias_of(*this));
  const View<const float, 2> offsets =
      offset.size() == 0 ? View<const float, 2>{} : View<const float, 2>(offset);
  return FourBitOperator<>(
      FourBitWeight<>(codes, method.group, scale, offsets, table_of(method.search)), bias_of(*this),
      method.inputs);
}

Size size_of(const CompressedLayers& layers) {
  Size size;
  for (const auto& [name, layer] : layers) {
    size.bytes += layer.bytes();
    size.weights += layer.rows * layer.cols;
  }
  return size;
}

}  // namespace compress_model
