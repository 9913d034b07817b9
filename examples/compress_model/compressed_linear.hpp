#pragma once

#include "method.hpp"
#include "source_operator.hpp"
#include <weft/layer/any_operator.hpp>
#include <weft/quant/float8_operator.hpp>
#include <weft/quant/llm_int8.hpp>

#include <map>

namespace compress_model {

/// What stands in a compressed model for a multiplication by a weight. SourceOperator is there
/// while the model is being compressed.
using Linear =
    weft::AnyOperator<SourceOperator, weft::quant::Int8Operator<>, weft::quant::LlmInt8Operator<>,
                      weft::quant::Float8Operator<>, weft::quant::FourBitOperator<>>;

/// A compressed linear layer as numbers: what a file holds, and what an operator is made from. So
/// the operators made before saving and after loading are equal.
struct CompressedLinear {
  Method method{};
  Index rows = 0, cols = 0;
  Tensor<std::uint8_t, 2> codes;  ///< [rows, cols]; two's complement of int8
  Tensor<float, 2> scale;         ///< [rows, groups]; numbers of fp16 for four_bit
  Tensor<float, 2> offset;        ///< the same, or empty: of affine integers
  Tensor<float, 1> bias;          ///< [rows], or empty

  /// Bytes in a file: codes of 4 bits two to a byte, their scales and offsets in fp16, those of
  /// 8 bits and all biases in fp32.
  Index bytes() const noexcept;

  /// Throws where the numbers do not fit each other.
  Linear make_operator() const;
};

using CompressedLayers = std::map<std::string, CompressedLinear>;

/// Bytes and weights of all layers.
struct Size {
  Index bytes = 0, weights = 0;

  double bits_per_weight() const { return 8. * static_cast<double>(bytes) / double(weights); }
};
Size size_of(const CompressedLayers& layers);

/// Compresses one layer. `inputs` [tokens, cols] are rows that go through it, for methods that
/// calibrate. `norm` are parameters [cols] of the norm before it, which such a method may change;
/// empty where there is none. Throws on weights and inputs that are not finite, and where groups
/// do not fit.
CompressedLinear compress_linear(const Method& method, View<const float, 2> weight,
                                 View<const float, 1> bias, View<const float, 2> inputs,
                                 std::span<const View<float, 1>> norm, const Context& ctx);

}  // namespace compress_model
