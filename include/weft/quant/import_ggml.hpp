#pragma once

#include <weft/quant/eight_bit_operator.hpp>
#include <weft/quant/ggml_blocks.hpp>
#include <weft/quant/import_tables.hpp>

#include <algorithm>
#include <span>

/// Blocks of ggml (ggml_blocks.hpp) as weights of operators: Q4_0, Q4_1, Q4_K, TQ2_0 and MXFP4 for
/// FourBitOperator, Q8_0 for EightBitOperator. Exact, but for the scales d sc and dmin m of Q4_K,
/// which are rounded to fp16.
namespace weft::quant {

namespace detail {

/// Codes in the low halves of n bytes, then those in the high halves.
inline void unpack_halves(const std::uint8_t* bytes, Index n, std::uint8_t* codes) noexcept {
  for (Index j = 0; j < n; ++j) {
    codes[j] = bytes[j] & 15;
    codes[j + n] = bytes[j] >> 4;
  }
}

/// How a block of ggml reads as codes, scales and offsets.
template <GgmlBlock B>
struct FourBitBlock;

template <>
struct FourBitBlock<Q4_0> {
  static constexpr Index kGroup = 32;
  static constexpr bool kHasOffset = false;
  static constexpr FourBitTable kTable = integer_table(-8);
  static void unpack(const Q4_0& block, std::uint8_t* codes, float* scale, float*) noexcept {
    unpack_halves(block.qs, 16, codes);
    *scale = static_cast<float>(block.d);
  }
};

template <>
struct FourBitBlock<Q4_1> {
  static constexpr Index kGroup = 32;
  static constexpr bool kHasOffset = true;
  static constexpr FourBitTable kTable = integer_table(0);
  static void unpack(const Q4_1& block, std::uint8_t* codes, float* scale, float* offset) noexcept {
    unpack_halves(block.qs, 16, codes);
    *scale = static_cast<float>(block.d);
    *offset = static_cast<float>(block.m);
  }
};

template <>
struct FourBitBlock<Q4_K> {
  static constexpr Index kGroup = 32;
  static constexpr bool kHasOffset = true;
  static constexpr FourBitTable kTable = integer_table(0);
  static void unpack(const Q4_K& block, std::uint8_t* codes, float* scale, float* offset) noexcept {
    for (int c = 0; c < 4; ++c) unpack_halves(block.qs + 32 * c, 32, codes + 64 * c);
    for (int j = 0; j < 8; ++j) {
      const auto part = block.scale_and_min(j);
      scale[j] = static_cast<float>(block.d) * static_cast<float>(part.scale);
      offset[j] = -static_cast<float>(block.dmin) * static_cast<float>(part.min);
    }
  }
};

template <>
struct FourBitBlock<Tq2_0> {
  static constexpr Index kGroup = 256;
  static constexpr bool kHasOffset = false;
  static constexpr FourBitTable kTable = integer_table(-1);
  static void unpack(const Tq2_0& block, std::uint8_t* codes, float* scale, float*) noexcept {
    for (Index i = 0; i < 256; ++i)
      codes[i] = (block.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
    *scale = static_cast<float>(block.d);
  }
};

template <>
struct FourBitBlock<Mxfp4> {
  static constexpr Index kGroup = 32;
  static constexpr bool kHasOffset = false;
  static void unpack(const Mxfp4& block, std::uint8_t* codes, float* scale, float*) {
    unpack_halves(block.qs, 16, codes);
    *scale = mxfp4_scale(block.e, {codes, 32});
  }
};

template <GgmlBlock B>
void check_rows(std::span<const B> blocks, Index rows, Index cols) {
  require(cols % B::kValues == 0, "a weight of ggml: ", cols,
          " inputs are no whole number of blocks of ", B::kValues);
  require(static_cast<Index>(blocks.size()) == rows * (cols / B::kValues),
          "a weight of ggml: ", blocks.size(), " blocks of ", B::kValues, " for [", rows, ", ",
          cols, "]");
}

/// Parts of rows of blocks, one after the other.
template <GgmlBlock B>
FourBitParts parts_of(std::span<const B> blocks, Index rows, Index cols) {
  using Format = FourBitBlock<B>;
  constexpr Index kValues = B::kValues, kGroups = kValues / Format::kGroup;
  check_rows(blocks, rows, cols);
  FourBitParts parts(rows, cols, Format::kGroup, Format::kHasOffset);
  Index i = 0;
  for (const B& block : blocks) {
    float* offset = Format::kHasOffset ? parts.offset.data() + i * kGroups : nullptr;
    Format::unpack(block, parts.codes.data() + i * kValues, parts.scale.data() + i * kGroups,
                   offset);
    ++i;
  }
  return parts;
}

}  // namespace detail

/// Blocks of rows of a weight, all blocks of a row one after the other. Throws where they are not
/// as many as the shape asks for, or a row is no whole number of them; of MXFP4, where a scale is
/// no number, or those of blocks other than 0 differ by more than 2^38.
template <GgmlBlock B, class A = DefaultArch>
FourBitWeight<A> four_bit_weight(std::span<const B> blocks, Index rows, Index cols) {
  auto parts = detail::parts_of(blocks, rows, cols);
  if constexpr (std::is_same_v<B, Mxfp4>)
    return detail::mxfp4_weight<A>(std::move(parts));
  else
    return parts.template weight<A>(detail::FourBitBlock<B>::kTable);
}

/// Blocks of Q8_0, those of a row one after the other. Throws where they are not as many as the
/// shape asks for, or a row is no whole number of them.
template <class A = DefaultArch>
EightBitWeight<A> eight_bit_weight(std::span<const Q8_0> blocks, Index rows, Index cols) {
  detail::check_rows(blocks, rows, cols);
  QuantizedMatrix<std::int8_t> q{Tensor<std::int8_t, 2>({rows, cols}),
                                 Tensor<float, 2>({rows, cols / Q8_0::kValues}),
                                 {},
                                 Block::group(Q8_0::kValues),
                                 full_signed_codes(8)};
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    std::ranges::copy(blocks[i].qs, q.codes.data() + i * Q8_0::kValues);
    q.scale.data()[i] = static_cast<float>(blocks[i].d);
  }
  return EightBitWeight<A>(q);
}

}  // namespace weft::quant
