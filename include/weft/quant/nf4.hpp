#pragma once

#include <weft/quant/nibbles.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

/// Blocks of 4-bit codes that are looked up in a table, times the largest magnitude of the block:
/// the layouts of bitsandbytes.
///
///   x ~ table[code] absmax,   code of the table's value nearest to x / absmax
///
///   nf4   quantiles of a normal distribution (QLoRA: Efficient Finetuning of Quantized LLMs,
///         arXiv:2305.14314); ascending, 0 is code 7; of two equally near the lower code
///   fp4   sign bit 8 and magnitudes 0 .0625 8 12 4 6 2 3 (over 12) of codes 0 to 7: not the fp4
///         of OCP; of two equally near the smaller magnitude, and -0 is 0
///
/// Blocks are consecutive elements of the tensor in row-major order, the last may be short. Codes
/// are packed with the first element in the high half of the byte; an odd one out is followed by
/// the code of 0. A block of zeros has absmax 0 and codes of 0.
///
/// The quotient is x (1 / absmax) in floats, as the official code has it. Its second quantization,
/// of the absmax themselves, is not here: its table is not published in words.
namespace weft::quant {

enum class Book16 { nf4, fp4 };

inline constexpr std::array<float, 16> kNf4Values = {
    -1.f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.f,
};
inline constexpr std::array<float, 16> kFp4Values = [] {
  constexpr float twelfths[] = {0, 0.0625f, 8, 12, 4, 6, 2, 3};
  std::array<float, 16> values{};
  for (std::size_t i = 0; i < 8; ++i) {
    values[i] = twelfths[i] / 12;
    values[i + 8] = -values[i];
  }
  return values;
}();

constexpr const std::array<float, 16>& values_of(Book16 book) noexcept {
  return book == Book16::nf4 ? kNf4Values : kFp4Values;
}

namespace detail {

/// The number of midpoints between neighbours of an ascending table that are less than x.
template <std::size_t N>
constexpr std::size_t nearest_of(const std::array<float, N>& table, float x) noexcept {
  std::size_t i = 0;
  // In double, where the sum of two neighbours is exact.
  while (i + 1 < N && 2. * x > double{table[i]} + double{table[i + 1]}) ++i;
  return i;
}

inline std::uint8_t encode_fp4(float x) noexcept {
  constexpr std::array<std::uint8_t, 8> kAscending = {0, 1, 6, 7, 4, 5, 2, 3};
  constexpr std::array<float, 8> kSizes = [=] {
    std::array<float, 8> sizes{};
    for (std::size_t i = 0; i < 8; ++i) sizes[i] = kFp4Values[kAscending[i]];
    return sizes;
  }();
  const int size = kAscending[nearest_of(kSizes, std::abs(x))];
  return static_cast<std::uint8_t>(x < 0 && size != 0 ? size | 8 : size);
}

}  // namespace detail

/// The code of x in [-1, 1].
inline std::uint8_t encode_book16(float x, Book16 book) noexcept {
  if (book == Book16::fp4) return detail::encode_fp4(x);
  return static_cast<std::uint8_t>(detail::nearest_of(kNf4Values, x));
}

/// A tensor of `size` elements in blocks.
struct Book16Blocks {
  Book16 book = Book16::nf4;
  Index size = 0;
  Index block = 64;
  std::vector<std::uint8_t> bytes;  ///< two codes each
  std::vector<float> absmax;        ///< one per block
};

namespace detail {

inline float absmax_of(std::span<const float> x) {
  float most = 0;
  for (const float v : x) {
    require(std::isfinite(v), "blocks of 4-bit codes: ", v, " among the numbers to quantize");
    most = std::max(most, std::abs(v));
  }
  return most;
}

inline void encode_block16(std::span<const float> x, float absmax, Book16 book,
                           std::uint8_t* codes) noexcept {
  const float inverse = 1 / absmax;
  // The inverse of the smallest subnormal numbers overflows.
  const bool divide = !std::isfinite(inverse);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float t = absmax == 0 ? 0 : divide ? x[i] / absmax : x[i] * inverse;
    codes[i] = encode_book16(std::clamp(t, -1.f, 1.f), book);
  }
}

}  // namespace detail

/// Throws when the block is not positive and on numbers that are not finite.
inline Book16Blocks quantize_book16(std::span<const float> x, Book16 book, Index block = 64) {
  require(block > 0, "blocks of ", block, " elements; wanted at least 1");
  Book16Blocks out{book, static_cast<Index>(x.size()), block, {}, {}};
  std::vector<std::uint8_t> codes(x.size());
  for (Index i = 0; i < out.size; i += block) {
    const auto at = static_cast<std::size_t>(i);
    const auto part = x.subspan(at, static_cast<std::size_t>(std::min(block, out.size - i)));
    out.absmax.push_back(detail::absmax_of(part));
    detail::encode_block16(part, out.absmax.back(), book, codes.data() + at);
  }
  out.bytes.resize(nibble_bytes(codes.size()));
  pack_nibbles(codes, NibbleOrder::high_first, out.bytes, encode_book16(0, book));
  return out;
}

namespace detail {

inline void check_sizes(const Book16Blocks& x, std::size_t room) {
  const auto size = static_cast<std::size_t>(x.size);
  require(x.size >= 0 && x.block > 0, "blocks of 4-bit codes: ", x.size, " elements in blocks of ",
          x.block);
  require(room == size, "blocks of 4-bit codes: ", size, " elements, room for ", room);
  require(x.bytes.size() == nibble_bytes(size), "blocks of 4-bit codes: ", size, " elements take ",
          nibble_bytes(size), " bytes, there are ", x.bytes.size());
  const Index count = ceil_div(x.size, x.block);
  require(static_cast<Index>(x.absmax.size()) == count, "blocks of 4-bit codes: ", count,
          " blocks, but ", x.absmax.size(), " absmax");
}

}  // namespace detail

/// The numbers that the codes stand for. Throws when a size does not fit the others.
template <class A = DefaultArch>
void dequantize(const Book16Blocks& x, std::span<float> to) {
  detail::check_sizes(x, to.size());
  constexpr auto kOrder = NibbleOrder::high_first;
  const auto& values = values_of(x.book);
  const Table16<A> table(values);
  // Registers start at even elements if blocks do.
  const bool whole = x.block % kWidth<float, A> == 0;
  for (Index begin = 0, b = 0; begin < x.size; begin += x.block, ++b) {
    const float scale = x.absmax[static_cast<std::size_t>(b)];
    const Index end = std::min(begin + x.block, x.size);
    Index i = begin;
    for (; whole && i + kWidth<float, A> <= end; i += kWidth<float, A>) {
      const auto codes = load_nibbles<kOrder, A>(x.bytes.data() + i / 2);
      store<A>(to.data() + i, table(codes) * Vec<float, A>(scale));
    }
    for (; i < end; ++i) {
      const auto at = static_cast<std::size_t>(i);
      to[at] = values[nibble(x.bytes.data(), at, kOrder)] * scale;
    }
  }
}

}  // namespace weft::quant
