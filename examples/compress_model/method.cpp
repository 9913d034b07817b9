#include "method.hpp"

#include "named.hpp"

namespace compress_model {

namespace {

using weft::quant::Inputs;

constexpr Method kMethods[] = {
    {"int8", "weights and activations in 8 bits, scales per output and per token", Format::int8},
    {"llm_int8", "the same, but channels with outliers (|x| >= 6) stay floats", Format::llm_int8},
    {"smoothquant", "int8 after moving outliers from activations into weights", Format::int8,
     Search::smoothquant},
    {"fp8", "weights in floats of 8 bits, E4M3, scales per output", Format::float8},
    {"rtn4", "4-bit integers, rounded to the nearest", Format::four_bit, Search::rounding, 4},
    {"gptq4", "4-bit integers, each column makes up for the errors before it", Format::four_bit,
     Search::gptq, 4},
    {"awq4", "4-bit integers, channels scaled and clipped by what goes through", Format::four_bit,
     Search::awq, 4},
    {"gptq4_int8", "gptq4 with activations in 8 bits, for speed", Format::four_bit, Search::gptq, 4,
     Inputs::int8},
    {"rtn3", "3-bit integers, rounded to the nearest (stored in 4 bits)", Format::four_bit,
     Search::rounding, 3},
    {"gptq3", "3-bit integers by GPTQ (stored in 4 bits)", Format::four_bit, Search::gptq, 3},
    {"awq3", "3-bit integers by AWQ (stored in 4 bits)", Format::four_bit, Search::awq, 3},
    {"nf4", "16 quantiles of a normal distribution", Format::four_bit, Search::nf4, 4},
    {"fp4", "floats of 4 bits, E2M1", Format::four_bit, Search::fp4, 4},
};

}  // namespace

std::span<const Method> methods() { return kMethods; }

Method method_called(std::string_view name) { return thing_called("method", methods(), name); }

std::vector<Method> methods_called(std::string_view names) {
  return things_called("method", methods(), names);
}

}  // namespace compress_model
