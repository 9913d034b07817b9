#pragma once

#include <weft/quant/eight_bit_operator.hpp>
#include <weft/quant/float8_operator.hpp>
#include <weft/quant/four_bit_operator.hpp>
#include <weft/quant/ggml_blocks.hpp>
#include <weft/quant/gptq_checkpoint.hpp>
#include <weft/quant/mx.hpp>
#include <weft/quant/nf4.hpp>
#include <weft/quant/real_bias_format.hpp>

#include <algorithm>
#include <numeric>
#include <span>

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
///
/// Rounding to fp16 changes a scale by up to 2^-11 of it. Where the table is one of floats, a power
/// of two moves from the scales to the table so that the largest scale of the weight lies in
/// [2^14, 2^15); others keep that accuracy down to 2^-28 of it, and powers of two are exact down to
/// 2^-38.
namespace weft::quant {

namespace detail {

/// What FourBitWeight is made of.
struct FourBitParts {
  Tensor<std::uint8_t, 2> codes;
  Index group;
  Tensor<float, 2> scale, offset;

  FourBitParts(Index rows, Index cols, Index group_size, bool has_offset)
      : codes({rows, cols}), group(group_size), scale({rows, ceil_div(cols, group)}) {
    if (has_offset) offset = Tensor<float, 2>(scale.shape());
  }

  template <class A>
  FourBitWeight<A> weight(const FourBitTable& table) const {
    return FourBitWeight<A>(codes, group, scale, offset, table);
  }

  /// Moves a power of two from the scales to the table: see above.
  FourBitTable balance(FourBitTable table) {
    float most = 0;
    for (const float s : scale.span()) most = std::max(most, std::abs(s));
    if (most == 0 || !std::isfinite(most)) return table;
    const int moved = std::ilogb(most) - 14;
    for (float& s : scale.span()) s = std::ldexp(s, -moved);
    for (float& v : table) v = std::ldexp(v, moved);
    return table;
  }
};

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

/// The scale of an MX block; 0 for a block of zeros, whose byte says nothing.
inline float mxfp4_scale(std::uint8_t byte, std::span<const std::uint8_t> codes) {
  require(byte != 0xff, "four_bit_weight: a block of MXFP4 has the scale 255, which is no number");
  const bool zeros = std::ranges::all_of(codes, [](std::uint8_t c) { return (c & 7) == 0; });
  return zeros ? 0.f : decode_e8m0(byte);
}

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

template <class A>
FourBitWeight<A> mxfp4_weight(FourBitParts parts) {
  const FourBitTable table = parts.balance(kFloatValues<kE2M1>);
  for (const float s : parts.scale.span())
    require(static_cast<float>(fp16(s)) == s,
            "four_bit_weight: scales of MXFP4 differ by more than the 2^38 that fp16 holds");
  return parts.weight<A>(table);
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

/// MXFP4 of mx.hpp: codes of kE2M1. Throws as above, and for other formats; blocks are of a
/// multiple of 4 elements.
template <class A = DefaultArch>
FourBitWeight<A> four_bit_weight(const MxMatrix& x) {
  require(x.format == kE2M1, "four_bit_weight: an MX matrix of ", x.format.bits(),
          " bits, wanted MXFP4 (E2M1)");
  const Index rows = x.codes.extent(0), cols = x.codes.extent(1);
  detail::FourBitParts parts(rows, cols, x.block, false);
  std::ranges::copy(x.codes.span(), parts.codes.data());
  for (Index o = 0; o < rows; ++o)
    for (Index g = 0; g < parts.scale.extent(1); ++g) {
      const Index k = g * x.block;
      const auto n = static_cast<std::size_t>(std::min(x.block, cols - k));
      parts.scale(o, g) = detail::mxfp4_scale(x.scales(o, g), {x.codes.view().pointer(o, k), n});
    }
  return detail::mxfp4_weight<A>(std::move(parts));
}

/// NF4 or FP4 of bitsandbytes: blocks run over the weight in row-major order, so that a row may
/// begin within one; groups are what rows and blocks have in common, gcd(cols, block). Throws where
/// the sizes do not fit each other, and where that is no multiple of 4 (nor a whole row).
template <class A = DefaultArch>
FourBitWeight<A> four_bit_weight(const Book16Blocks& x, Index rows, Index cols) {
  require(x.size == rows * cols, "four_bit_weight: ", x.size, " elements for a weight [", rows,
          ", ", cols, "]");
  detail::check_sizes(x, static_cast<std::size_t>(x.size));
  const Index group = std::gcd(cols, x.block);
  require(group % 4 == 0 || group == cols, "four_bit_weight: rows of ", cols,
          " inputs and blocks of ", x.block, " share groups of ", group,
          ", wanted a multiple of 4");
  detail::FourBitParts parts(rows, cols, group, false);
  unpack_nibbles(x.bytes, NibbleOrder::high_first, parts.codes.span());
  for (Index i = 0; i < parts.scale.size(); ++i)
    parts.scale.data()[i] = x.absmax[static_cast<std::size_t>(i * group / x.block)];
  return parts.weight<A>(parts.balance(values_of(x.book)));
}

/// A 4-bit format with a real exponent bias per output: codes [out, in], bias [out]. E1M2 becomes
/// the integers -7 to 7, which Inputs::int8 takes. Throws where the format is not one of 4 bits,
/// and as FourBitWeight does.
template <class A = DefaultArch>
FourBitWeight<A> four_bit_weight(View<const std::uint8_t, 2> codes, RealBiasFormat format,
                                 View<const double, 1> bias) {
  const Index rows = codes.extent(0), cols = codes.extent(1);
  require(format.bits() == 4, "four_bit_weight: a format of ", format.bits(), " bits, wanted 4");
  require(bias.extent(0) == rows, "four_bit_weight: ", bias.extent(0), " biases for ", rows,
          " rows");
  const RealBiasGrid grid(format, 0);
  FourBitTable table{};
  for (int c = 0; c < 16; ++c)
    table[static_cast<std::size_t>(c)] = static_cast<float>(grid.decode(c));
  detail::FourBitParts parts(rows, cols, std::max<Index>(cols, 1), false);
  // Of sign and magnitude, as E1M2 is: half steps from -3.5 to 3.5.
  const bool uniform = format.exponent_bits == 1;
  for (Index o = 0; o < rows; ++o) {
    for (Index k = 0; k < cols; ++k) {
      const int code = codes(o, k), steps = code & 7;
      const bool remap = uniform && code < 16;
      parts.codes(o, k) =
          static_cast<std::uint8_t>(remap ? (code & 8) != 0 ? 8 - steps : 8 + steps : code);
    }
    if (cols > 0) parts.scale(o, 0) = static_cast<float>(std::exp2(-bias(o) - (uniform ? 1 : 0)));
  }
  return parts.weight<A>(uniform ? integer_table(-8) : parts.balance(table));
}

namespace detail {

/// Inputs sorted by group, stably.
inline Tensor<std::int32_t, 1> sorted_by_group(const Tensor<std::int32_t, 1>& group_of) {
  Tensor<std::int32_t, 1> order(group_of.shape());
  std::iota(order.span().begin(), order.span().end(), 0);
  std::ranges::stable_sort(order.span(), {}, [&](std::int32_t k) { return group_of(k); });
  return order;
}

/// The most inputs that a group may have so that none is of two groups of the sorted ones: as large
/// as these are, if they are equally large but for the last.
inline Index common_group(const Tensor<std::int32_t, 1>& group_of,
                          const Tensor<std::int32_t, 1>& order) {
  Index group = 0;
  for (Index k = 1; k < order.extent(0); ++k)
    if (group_of(order(k)) != group_of(order(k - 1))) group = std::gcd(group, k);
  return group == 0 ? order.extent(0) : group;
}

inline void check_gptq(const GptqMatrix& w) {
  const Index K = w.codes.extent(0), N = w.codes.extent(1), groups = w.scales.extent(0);
  require(w.scales.extent(1) == N && w.zeros.shape() == w.scales.shape() && w.g_idx.extent(0) == K,
          "GPTQ layer: codes are ", w.codes.view(), ", scales ", w.scales.view(), ", zeros ",
          w.zeros.view(), ", g_idx has ", w.g_idx.extent(0), " entries");
  for (Index k = 0; k < K; ++k)
    require(w.g_idx(k) >= 0 && w.g_idx(k) < groups, "GPTQ layer: g_idx[", k, "] is ", w.g_idx(k),
            ", there are ", groups, " groups");
}

/// A GPTQ layer as [out, in] with columns sorted by group, stably; order is empty if they were.
struct SortedGptq {
  QuantizedMatrix<std::uint8_t> matrix;
  Tensor<std::int32_t, 1> order;

  explicit SortedGptq(const GptqMatrix& w) {
    check_gptq(w);
    const Index K = w.codes.extent(0), N = w.codes.extent(1);
    order = sorted_by_group(w.g_idx);
    const Index group = std::max<Index>(common_group(w.g_idx, order), 1);
    const Index groups = ceil_div(K, group);
    matrix = {Tensor<std::uint8_t, 2>({N, K}), Tensor<float, 2>({N, groups}),
              Tensor<std::int32_t, 2>({N, groups}), Block::group(group), unsigned_codes(w.bits)};
    for (Index n = 0; n < N; ++n) {
      for (Index k = 0; k < K; ++k) matrix.codes(n, k) = w.codes(order(k), n);
      for (Index g = 0; g < groups; ++g) {
        const Index from = w.g_idx(order(g * group));
        matrix.scale(n, g) = w.scales(from, n);
        matrix.zero(n, g) = w.zeros(from, n);
      }
    }
    if (std::ranges::is_sorted(order.span())) order = {};
  }
};

}  // namespace detail

/// A GPTQ layer of 2 to 4 bits. Where g_idx is not ascending (activation order), columns are sorted
/// by group, and the operator permutes its inputs alike. Throws for more bits, where shapes do not
/// fit, and as FourBitOperator does.
template <class A = DefaultArch>
FourBitOperator<A> four_bit_operator(const GptqMatrix& w, View<const float, 1> bias = {},
                                     Inputs inputs = Inputs::exact) {
  require(w.bits <= 4, "four_bit_operator: a GPTQ layer of ", w.bits,
          " bits is one for eight_bit_operator");
  const detail::SortedGptq sorted(w);
  return FourBitOperator<A>(FourBitWeight<A>(sorted.matrix), bias, inputs, sorted.order);
}

/// The same of up to 8 bits, a byte per weight.
template <class A = DefaultArch>
EightBitOperator<A> eight_bit_operator(const GptqMatrix& w, View<const float, 1> bias = {}) {
  const detail::SortedGptq sorted(w);
  return EightBitOperator<A>(EightBitWeight<A>(sorted.matrix), bias, sorted.order);
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
