#pragma once

#include <weft/quant/four_bit_weight.hpp>
#include <weft/quant/mx.hpp>
#include <weft/quant/nf4.hpp>
#include <weft/quant/real_bias_format.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

/// Weights of tables of 16 floats for FourBitOperator: MXFP4 (mx.hpp), NF4 and FP4 of bitsandbytes
/// (nf4.hpp), and LLM-FP4 (real_bias_format.hpp).
///
/// Codes stay as they are; scales become fp16. Before that a power of two moves from the scales to
/// the table, so that the largest scale of the weight lies in [2^14, 2^15): all others within 2^-28
/// of it are rounded by up to 2^-11 of themselves, and powers of two within 2^-38 are exact.
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

  /// Moves a power of two from the scales to the table.
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

/// The scale of an MX block; 0 for a block of zeros, whose byte says nothing.
inline float mxfp4_scale(std::uint8_t byte, std::span<const std::uint8_t> codes) {
  require(byte != 0xff, "four_bit_weight: a block of MXFP4 has the scale 255, which is no number");
  const bool zeros = std::ranges::all_of(codes, [](std::uint8_t c) { return (c & 7) == 0; });
  return zeros ? 0.f : decode_e8m0(byte);
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

/// MXFP4 of mx.hpp: codes of kE2M1. Throws for other formats, where a scale is no number, those of
/// blocks other than 0 differ by more than 2^38, or blocks are no multiple of 4 elements.
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

}  // namespace weft::quant
