#pragma once

#include "row.hpp"

#include <string_view>

/// Matrix products C[M, N] = A[M, K] B[K, N] that weft and its peers are timed on.
namespace bench {

enum class Operand {
  plain,       ///< B row-major, a new one each call
  transposed,  ///< B given as W[N, K], the way a linear layer stores its weights
  packed,      ///< B constant: its layout is prepared before
};

/// Of A and B; C is fp32 when they are bf16, and int32 when they are unsigned and signed bytes.
enum class Type { f32, f64, bf16, u8s8 };

struct GemmCase {
  std::string_view name;  ///< family/variant/verb/dtype
  Operand b;
  Type type;
  Index m, n, k;

  /// Name and work. A product with one row reads each weight for two operations: memory limits it.
  Row row() const {
    const double element = type == Type::f64    ? 8
                           : type == Type::bf16 ? 2
                           : type == Type::u8s8 ? 1
                                                : 4;
    const double result = type == Type::f64 ? 8 : 4;
    const Floor compute = type == Type::f64    ? Floor::fma_f64
                          : type == Type::bf16 ? Floor::bf16
                          : type == Type::u8s8 ? Floor::int8
                                               : Floor::fma_f32;
    return {
        .name = row_name(name, {{"M", m}, {"N", n}, {"K", k}}),
        .flops = 2.0 * static_cast<double>(m * n * k),
        .bytes = element * static_cast<double>(m * k + k * n) + result * static_cast<double>(m * n),
        .floor = m == 1 ? Floor::read : compute};
  }
};

inline constexpr GemmCase kGemmCases[] = {
    {"gemm/nn/forward/f32", Operand::plain, Type::f32, 1024, 1024, 1024},
    {"gemm/nn/forward/f32", Operand::plain, Type::f32, 64, 64, 64},
    {"gemm/nn/forward/f32", Operand::plain, Type::f32, 200, 300, 100},
    {"gemm/nt/forward/f32", Operand::transposed, Type::f32, 1024, 1024, 1024},
    {"gemm/nt/forward/f32", Operand::transposed, Type::f32, 128, 512, 2048},
    {"gemm/packed/forward/f32", Operand::packed, Type::f32, 1024, 1024, 1024},
    {"gemm/packed/forward/f32", Operand::packed, Type::f32, 32, 4096, 4096},
    {"gemm/packed/forward/f32", Operand::packed, Type::f32, 128, 512, 2048},
    {"gemm/packed/forward/f32", Operand::packed, Type::f32, 12, 512, 512},
    {"gemm/gemv/forward/f32", Operand::transposed, Type::f32, 1, 4096, 4096},
    {"gemm/gemv/forward/f32", Operand::transposed, Type::f32, 1, 512, 512},
    {"gemm/gemv_packed/forward/f32", Operand::packed, Type::f32, 1, 4096, 4096},
    {"gemm/nn/forward/f64", Operand::plain, Type::f64, 1024, 1024, 1024},
    {"gemm/packed/forward/bf16", Operand::packed, Type::bf16, 1024, 1024, 1024},
    {"gemm/packed/forward/bf16", Operand::packed, Type::bf16, 128, 512, 2048},
    {"gemm/gemv_packed/forward/bf16", Operand::packed, Type::bf16, 1, 4096, 4096},
    {"quant/int8_gemm/forward/u8s8", Operand::packed, Type::u8s8, 512, 4096, 4096},
    {"quant/int8_gemm/forward/u8s8", Operand::packed, Type::u8s8, 32, 4096, 4096},
    {"quant/int8_gemm/forward/u8s8", Operand::packed, Type::u8s8, 1, 4096, 4096},
};

}  // namespace bench
