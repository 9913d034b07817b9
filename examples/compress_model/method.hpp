#pragma once

#include <weft/quant/four_bit_operator.hpp>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace compress_model {

using weft::Index;

/// How an operator keeps its weight.
enum class Format { int8, llm_int8, float8, four_bit };

/// How its codes are found.
enum class Search { rounding, smoothquant, gptq, awq, nf4, fp4 };

/// A way to compress a linear layer, as the command line names it.
struct Method {
  std::string_view name;
  std::string_view summary;
  Format format;
  Search search = Search::rounding;
  int bits = 8;
  weft::quant::Inputs inputs = weft::quant::Inputs::exact;  ///< of 4-bit weights
  Index group = 32;  ///< inputs that share a scale, of 4-bit weights

  /// Whether it looks at what goes through the layers.
  bool calibrates() const noexcept {
    return search == Search::smoothquant || search == Search::gptq || search == Search::awq;
  }
};

std::span<const Method> methods();

/// Throws weft::error with all names when there is none of this one.
Method method_called(std::string_view name);

/// Names separated by commas, or "all".
std::vector<Method> methods_called(std::string_view names);

}  // namespace compress_model
