#pragma once

#include <weft/core/dtype.hpp>
#include <weft/quant/nibbles.hpp>
#include <weft/quant/rounding.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>

/// Blocks of quantized weights as the files of ggml and llama.cpp hold them, byte for byte:
///
///   block    values bytes  layout                               value
///   Q4_0     32     18     d, qs[16]                            (code - 8) d
///   Q4_1     32     20     d, m, qs[16]                         code d + m
///   Q8_0     32     34     d, qs[32] signed                     code d
///   MXFP4    32     17     e, qs[16]                            fp4[code] 2^(e - 127)
///   Q4_K     256    144    d, dmin, scales[12], qs[128]         code d sc - dmin m
///   TQ2_0    256    66     qs[64], d                            (code - 1) d
///
/// d, m and dmin are fp16, little-endian like everything else. In blocks of 32, byte j of qs holds
/// element j in its low half and element j + 16 in its high half; the other two are explained at
/// their types.
///
///   encode(x, block)      one block; all arithmetic in float, as ggml's reference has it
///   decode(block, x)
///   encode_blocks<B>(x, blocks), decode_blocks<B>(blocks, x), blocks_in<B>(bytes)    whole rows
///
/// Codes are made for the scale before it is rounded to fp16. A scale whose inverse overflows makes
/// a block of zeros. Numbers that are not finite, and scales beyond fp16, are refused. Q4_K is
/// decoded only: its encoder is a search that no two programs do alike.
namespace weft::quant {

struct Q4_0 {
  static constexpr Index kValues = 32;
  fp16 d;
  std::uint8_t qs[16];
};
struct Q4_1 {
  static constexpr Index kValues = 32;
  fp16 d, m;
  std::uint8_t qs[16];
};
struct Q8_0 {
  static constexpr Index kValues = 32;
  fp16 d;
  std::int8_t qs[32];
};
/// Code c stands for 0 .5 1 1.5 2 3 4 6, its bit 3 for the sign; 8 is a second zero.
struct Mxfp4 {
  static constexpr Index kValues = 32;
  std::uint8_t e;
  std::uint8_t qs[16];
};
/// Element 128 h + 32 n + m has bits 2n and 2n + 1 of byte 32 h + m.
struct Tq2_0 {
  static constexpr Index kValues = 256;
  std::uint8_t qs[64];
  fp16 d;
};
/// Eight blocks of 32 with a scale sc and a minimum m of 6 bits each (`scale_and_min`). Bytes
/// 32 c ... 32 c + 31 of qs hold block 2c in their low and block 2c + 1 in their high halves.
struct Q4_K {
  static constexpr Index kValues = 256;
  fp16 d, dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[128];

  struct ScaleAndMin {
    int scale, min;
  };
  /// Blocks 0 to 3 have the lower 6 bits of bytes j and j + 4; of blocks 4 to 7 the lower 4 bits
  /// are the halves of byte j + 4, the upper 2 bits are left over in bytes j - 4 and j.
  constexpr ScaleAndMin scale_and_min(int j) const noexcept {
    if (j < 4) return {scales[j] & 63, scales[j + 4] & 63};
    return {(scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4,
            (scales[j + 4] >> 4) | (scales[j] >> 6) << 4};
  }
};
static_assert(sizeof(Q4_0) == 18 && sizeof(Q4_1) == 20 && sizeof(Q8_0) == 34);
static_assert(sizeof(Mxfp4) == 17 && sizeof(Tq2_0) == 66 && sizeof(Q4_K) == 144);
static_assert(std::endian::native == std::endian::little);

/// One of these blocks.
template <class B>
concept GgmlBlock = requires(const B& block) {
  requires std::is_trivially_copyable_v<B>;
  { B::kValues } -> std::convertible_to<Index>;
};

template <GgmlBlock B>
using BlockValues = std::span<float, static_cast<std::size_t>(B::kValues)>;
template <GgmlBlock B>
using ConstBlockValues = std::span<const float, static_cast<std::size_t>(B::kValues)>;

namespace detail {

inline void require_finite(std::span<const float> x) {
  for (const float v : x) require(std::isfinite(v), "ggml blocks: ", v, " among the numbers");
}

inline fp16 scale_of_block(float d) {
  const fp16 half(d);
  require(std::isfinite(static_cast<float>(half)), "ggml blocks: the scale ", d,
          " is beyond fp16, at most 65504");
  return half;
}

/// 1 / d, and 0 where that is no number.
inline float inverse_or_zero(float d) noexcept {
  const float inverse = d == 0 ? 0 : 1 / d;
  return std::isfinite(inverse) ? inverse : 0;
}

/// A product rounded to float. (Written as a product of floats, a compiler might fuse it with the
/// addition that follows, and its codes differ from those of ggml.)
inline float rounded_product(float a, float b) noexcept {
  return static_cast<float>(double{a} * double{b});
}

/// The element of largest magnitude, with its sign; the first of several, and +0 for zeros.
inline float extreme(std::span<const float> x) noexcept {
  const float most = *std::max_element(x.begin(), x.end(),
                                       [](float a, float b) { return std::abs(a) < std::abs(b); });
  return most == 0 ? 0 : most;
}

/// 16 bytes of the codes of 32 elements, code(i) of element i.
template <class F>
void pack_halves(std::uint8_t (&qs)[16], F code) {
  for (std::size_t j = 0; j < 16; ++j)
    qs[j] = static_cast<std::uint8_t>(code(j) | code(j + 16) << 4);
}

/// A scale in all lanes.
template <class A>
[[gnu::always_inline]] inline Vec<float, A> spread(fp16 x) noexcept {
#if defined(__F16C__) || defined(__AVX512F__)
  if constexpr (weft::detail::kHalfConversion<A>) {
    const auto word = static_cast<short>(x.bits);
    if constexpr (kWidth<float, A> == 16)
      return _mm512_cvtph_ps(_mm256_set1_epi16(word));
    else
      return _mm256_cvtph_ps(_mm_set1_epi16(word));
  } else
#endif
    return Vec<float, A>(static_cast<float>(x));
}

/// to[i] = f(code as a 32-bit lane) for `count` elements in the low halves of count bytes and as
/// many in the high halves. count is a multiple of the width of a register.
template <class A, class F>
[[gnu::always_inline]] inline void decode_halves(const std::uint8_t* bytes, Index count, float* to,
                                                 F f, float* to_high, F f_high) noexcept {
  using Int = Vec<std::int32_t, A>;
  for (Index j = 0; j < count; j += kWidth<float, A>) {
    const Int codes = load_bytes<A>(bytes + j);
    store<A>(to + j, f(codes & Int(15)));
    store<A>(to_high + j, f_high(codes >> 4));
  }
}

/// scale code + offset of codes in 32-bit lanes.
template <class A>
struct Line {
  Vec<float, A> scale, offset;

  [[gnu::always_inline]] Vec<float, A> operator()(
      const Vec<std::int32_t, A>& codes) const noexcept {
    return mul_add(xsimd::to_float(codes), scale, offset);
  }
};

}  // namespace detail

// --- Encoding

/// d = the element of largest magnitude over -8, so that it has the code 0.
inline void encode(ConstBlockValues<Q4_0> x, Q4_0& block) {
  detail::require_finite(x);
  const float d = detail::extreme(x) / -8;
  const float inverse = detail::inverse_or_zero(d);
  block.d = detail::scale_of_block(d);
  detail::pack_halves(block.qs, [&](std::size_t i) {
    return std::min(15, static_cast<int>(detail::rounded_product(x[i], inverse) + 8.5f));
  });
}

/// From the least element in 15 steps to the largest.
inline void encode(ConstBlockValues<Q4_1> x, Q4_1& block) {
  detail::require_finite(x);
  const auto [least, most] = std::ranges::minmax_element(x);
  const float low = *least, d = (*most - low) / 15;
  const float inverse = detail::inverse_or_zero(d);
  block.d = detail::scale_of_block(d);
  block.m = detail::scale_of_block(low);
  detail::pack_halves(block.qs, [&](std::size_t i) {
    return std::min(15, static_cast<int>(detail::rounded_product(x[i] - low, inverse) + 0.5f));
  });
}

/// d = max |x| / 127; ties away from zero.
inline void encode(ConstBlockValues<Q8_0> x, Q8_0& block) {
  detail::require_finite(x);
  const float d = std::abs(detail::extreme(x)) / 127;
  const float inverse = detail::inverse_or_zero(d);
  block.d = detail::scale_of_block(d);
  for (std::size_t i = 0; i < x.size(); ++i)
    block.qs[i] = static_cast<std::int8_t>(round_half_away(x[i] * inverse));
}

/// d = max |x|; ties away from zero.
inline void encode(ConstBlockValues<Tq2_0> x, Tq2_0& block) {
  detail::require_finite(x);
  const float d = std::abs(detail::extreme(x));
  const float inverse = detail::inverse_or_zero(d);
  block.d = detail::scale_of_block(d);
  const auto code = [&](std::size_t i) {
    return static_cast<unsigned>(static_cast<int>(round_half_away(x[i] * inverse)) + 1);
  };
  for (std::size_t j = 0; j < sizeof block.qs; ++j) {
    const std::size_t first = 128 * (j / 32) + j % 32;
    block.qs[j] = static_cast<std::uint8_t>(code(first) | code(first + 32) << 2 |
                                            code(first + 64) << 4 | code(first + 96) << 6);
  }
}

namespace detail {

/// Twice the values of the codes of MXFP4.
inline constexpr std::array<float, 16> kTwiceFp4 = {0, 1,  2,  3,  4,  6,  8,  12,
                                                    0, -1, -2, -3, -4, -6, -8, -12};

/// 2^(e - 128), the unit of these.
constexpr float mxfp4_unit(std::uint8_t e) noexcept {
  return e < 2 ? static_cast<float>(e + 1) * 0x1p-128f : std::bit_cast<float>((e - 1u) << 23);
}

/// The code of the value nearest to x: of equal distances the smaller magnitude, and no negative
/// zero. Counts the midpoints between (twice the) magnitudes that x exceeds.
inline unsigned nearest_mxfp4(float x, float unit) noexcept {
  unsigned code = 0;
  for (const float midpoint : {.5f, 1.5f, 2.5f, 3.5f, 5.f, 7.f, 10.f})
    code += std::abs(x) > midpoint * unit;
  return code != 0 && x < 0 ? code | 8u : code;
}

}  // namespace detail

/// The scale of MX (mx.hpp), but ties to the smaller magnitude.
inline void encode(ConstBlockValues<Mxfp4> x, Mxfp4& block) {
  detail::require_finite(x);
  const float most = std::abs(detail::extreme(x));
  const int e = most == 0 ? 0 : std::max(std::ilogb(most) - 2 + 127, 0);
  block.e = static_cast<std::uint8_t>(e);
  const float unit = detail::mxfp4_unit(block.e);
  detail::pack_halves(block.qs, [&](std::size_t i) { return detail::nearest_mxfp4(x[i], unit); });
}

// --- Decoding

template <class A = DefaultArch>
void decode(const Q4_0& block, BlockValues<Q4_0> to) noexcept {
  const auto d = detail::spread<A>(block.d);
  const detail::Line<A> line{d, d * -8.f};
  detail::decode_halves<A>(block.qs, 16, to.data(), line, to.data() + 16, line);
}

template <class A = DefaultArch>
void decode(const Q4_1& block, BlockValues<Q4_1> to) noexcept {
  const detail::Line<A> line{detail::spread<A>(block.d), detail::spread<A>(block.m)};
  detail::decode_halves<A>(block.qs, 16, to.data(), line, to.data() + 16, line);
}

template <class A = DefaultArch>
void decode(const Q8_0& block, BlockValues<Q8_0> to) noexcept {
  const auto d = detail::spread<A>(block.d);
  for (Index i = 0; i < Q8_0::kValues; i += kWidth<float, A>)
    store<A>(to.data() + i, xsimd::to_float(load_bytes<A>(block.qs + i)) * d);
}

template <class A = DefaultArch>
void decode(const Mxfp4& block, BlockValues<Mxfp4> to) noexcept {
  const Table16<A> table(detail::kTwiceFp4);
  const Vec<float, A> unit(detail::mxfp4_unit(block.e));
  const auto value = [&](const Vec<std::int32_t, A>& codes) { return table(codes) * unit; };
  detail::decode_halves<A>(block.qs, 16, to.data(), value, to.data() + 16, value);
}

template <class A = DefaultArch>
void decode(const Q4_K& block, BlockValues<Q4_K> to) noexcept {
  const auto d = detail::spread<A>(block.d), dmin = detail::spread<A>(block.dmin);
  const auto line_of = [&](int j) {
    const auto part = block.scale_and_min(j);
    return detail::Line<A>{d * static_cast<float>(part.scale),
                           -dmin * static_cast<float>(part.min)};
  };
  for (int c = 0; c < 4; ++c) {
    float* first = to.data() + 64 * c;
    detail::decode_halves<A>(block.qs + 32 * c, 32, first, line_of(2 * c), first + 32,
                             line_of(2 * c + 1));
  }
}

template <class A = DefaultArch>
void decode(const Tq2_0& block, BlockValues<Tq2_0> to) noexcept {
  using Int = Vec<std::int32_t, A>;
  const auto d = detail::spread<A>(block.d);
  const detail::Line<A> line{d, -d};
  for (Index j = 0; j < 64; j += kWidth<float, A>) {
    const Int codes = load_bytes<A>(block.qs + j);
    float* first = to.data() + 128 * (j / 32) + j % 32;
    for (int n = 0; n < 4; ++n) store<A>(first + 32 * n, line((codes >> (2 * n)) & Int(3)));
  }
}

// --- Rows

namespace detail {

template <GgmlBlock B>
void check_blocks(std::size_t values, std::size_t blocks) {
  require(values == blocks * static_cast<std::size_t>(B::kValues), "ggml blocks: ", values,
          " numbers in ", blocks, " blocks of ", B::kValues);
}

}  // namespace detail

/// The blocks of a file. Throws when the bytes are no whole number of blocks or not aligned to 2.
template <GgmlBlock B>
std::span<const B> blocks_in(std::span<const std::uint8_t> bytes) {
  require(bytes.size() % sizeof(B) == 0, "ggml blocks: ", bytes.size(),
          " bytes are no whole number of blocks of ", sizeof(B));
  require(reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(B) == 0,
          "ggml blocks: the bytes are not aligned to ", alignof(B), "; copy them");
  return {reinterpret_cast<const B*>(bytes.data()), bytes.size() / sizeof(B)};
}

/// Throws when the sizes do not fit, and as `encode` does.
template <GgmlBlock B>
void encode_blocks(std::span<const float> x, std::span<B> blocks) {
  detail::check_blocks<B>(x.size(), blocks.size());
  constexpr auto n = static_cast<std::size_t>(B::kValues);
  for (std::size_t b = 0; b < blocks.size(); ++b)
    encode(ConstBlockValues<B>(x.data() + b * n, n), blocks[b]);
}

/// Throws when the sizes do not fit.
template <GgmlBlock B, class A = DefaultArch>
void decode_blocks(std::span<const B> blocks, std::span<float> to) {
  detail::check_blocks<B>(to.size(), blocks.size());
  constexpr auto n = static_cast<std::size_t>(B::kValues);
  for (std::size_t b = 0; b < blocks.size(); ++b)
    decode<A>(blocks[b], BlockValues<B>(to.data() + b * n, n));
}

}  // namespace weft::quant
