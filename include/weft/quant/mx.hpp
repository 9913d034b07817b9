#pragma once

#include <weft/core/tensor.hpp>
#include <weft/quant/float_codes.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

/// Microscaling formats (OCP Microscaling Formats (MX) v1.0; Microscaling Data Formats for Deep
/// Learning, arXiv:2310.10537): blocks of 32 small floats along the last axis with a common power
/// of two.
///
///   e     = floor(log2(max |x|)) - floor(log2(format.max())), within -127 ... 127
///   code  = format.encode(x / 2^e)          to nearest even, saturating
///   x     ~ 2^e format.decode(code)         the byte of the scale is e + 127 (E8M0)
///
/// The formats are kE2M1, kE2M3, kE3M2, kE4M3 and kE5M2 of float_format.hpp. What is above the
/// largest number of the format times 2^e and below the next power of two saturates: 6 < |x| < 8 in
/// MXFP4. A block of zeros has the byte 0 and codes 0, one that holds NaN or infinities the byte
/// 255 and decodes to NaN. The last block of a row may be short.
///
/// Multiplying a block by 2^k adds k to its byte and leaves the codes, as long as neither end of
/// the exponents is reached. Decoding is exact. (Microsoft's emulation rounds ties away from zero
/// unless told otherwise; the standard recommends ties to even.)
///
/// Codes take a byte each here; those of 4 bits are packed by pack_nibbles, low_first
/// (nibbles.hpp), or as ggml does it (ggml_blocks.hpp).
namespace weft::quant {

inline constexpr Index kMxBlock = 32;

/// Codes of one block, and the byte of its scale. Throws when the sizes differ.
inline std::uint8_t encode_mx_block(std::span<const float> x, const FloatFormat& format,
                                    std::span<std::uint8_t> codes) {
  require(x.size() == codes.size(), "an MX block of ", x.size(), " elements, room for ",
          codes.size());
  std::fill(codes.begin(), codes.end(), std::uint8_t{0});
  float most = 0;
  for (const float v : x) {
    if (!std::isfinite(v)) return 0xff;
    most = std::max(most, std::abs(v));
  }
  if (most == 0) return 0;
  const std::uint8_t scale = encode_e8m0(std::ilogb(most) - format.max_exponent());
  // In double: the inverse of 2^-127 times a float may be more than floats reach.
  const double inverse = 1 / double{decode_e8m0(scale)};
  for (std::size_t i = 0; i < x.size(); ++i)
    codes[i] = static_cast<std::uint8_t>(format.encode(static_cast<float>(x[i] * inverse)));
  return scale;
}

/// A matrix in blocks along its rows.
struct MxMatrix {
  FloatFormat format;
  Index block;
  Tensor<std::uint8_t, 2> codes;   ///< [R, C], a byte each
  Tensor<std::uint8_t, 2> scales;  ///< [R, ceil(C / block)]
};

namespace detail {

using weft::detail::fail_with;

/// Calls f.operator()<F>() with the format as a template argument. Throws for what is not of MX.
template <class F>
void with_mx_format(const FloatFormat& format, F&& f) {
  if (format == kE2M1) return f.template operator()<kE2M1>();
  if (format == kE2M3) return f.template operator()<kE2M3>();
  if (format == kE3M2) return f.template operator()<kE3M2>();
  if (format == kE4M3) return f.template operator()<kE4M3>();
  if (format == kE5M2) return f.template operator()<kE5M2>();
  fail_with("a format of ", format.exponent_bits, " exponent and ", format.mantissa_bits,
            " mantissa bits is none of MX: kE2M1, kE2M3, kE3M2, kE4M3, kE5M2");
}

/// One row of n elements.
template <FloatFormat F, class A>
void decode_mx_row(const std::uint8_t* codes, const std::uint8_t* scales, Index n, Index block,
                   float* to) noexcept {
  for (Index begin = 0; begin < n; begin += block, ++scales) {
    const Vec<float, A> scale(decode_e8m0(*scales));
    const std::uint8_t* from = codes + begin;
    float* out = to + begin;
    for_registers<A>(
        std::min(block, n - begin),
        [&](Index i) { store<A>(out + i, load_codes<F, A>(from + i) * scale); },
        [&](Index i, Index rest) {
          store_partial<A>(out + i, load_codes_partial<F, A>(from + i, rest) * scale, rest);
        });
  }
}

}  // namespace detail

/// x [R, C] with stride 1 in the last axis. Throws when it has another one, when the block is not
/// positive, or when the format is none of MX.
inline MxMatrix quantize_mx(View<const float, 2> x, const FloatFormat& format,
                            Index block = kMxBlock) {
  const Index rows = x.extent(0), cols = x.extent(1);
  require(block > 0, "MX blocks of ", block, " elements; the standard has 32");
  detail::with_mx_format(format, []<FloatFormat>() {});
  require(cols <= 1 || x.stride(1) == 1, "quantize_mx: x has stride ", x.stride(1),
          " in its last axis; wanted 1");
  MxMatrix out{format, block, Tensor<std::uint8_t, 2>({rows, cols}),
               Tensor<std::uint8_t, 2>({rows, (cols + block - 1) / block})};
  for (Index r = 0; r < rows; ++r)
    for (Index b = 0; b < out.scales.extent(1); ++b) {
      const Index c = b * block;
      const auto n = static_cast<std::size_t>(std::min(block, cols - c));
      out.scales(r, b) = encode_mx_block({x.pointer(r, c), n}, format, {&out.codes(r, c), n});
    }
  return out;
}

/// The numbers that the codes stand for. `to` has stride 1 in the last axis. Throws when it has
/// another one or the shapes differ.
template <class A = DefaultArch>
void dequantize(const MxMatrix& q, View<float, 2> to) {
  require(to.shape() == q.codes.shape(), "dequantize: out is ", to, ", the codes are ",
          q.codes.view());
  require(to.extent(1) <= 1 || to.stride(1) == 1, "dequantize: out has stride ", to.stride(1),
          " in its last axis; wanted 1");
  detail::with_mx_format(q.format, [&]<FloatFormat F>() {
    for (Index r = 0; r < to.extent(0); ++r)
      detail::decode_mx_row<F, A>(q.codes.view().pointer(r), q.scales.view().pointer(r),
                                  to.extent(1), q.block, to.pointer(r));
  });
}

}  // namespace weft::quant
