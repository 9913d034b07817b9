#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/lanes.hpp>
#include <weft/core/tile_product.hpp>
#include <weft/quant/affine.hpp>

#include <algorithm>
#include <array>

/// A constant weight in 4 bits, of any format that has a scale per group of consecutive inputs:
///
///   W[o, k] = scale[o, g] table[code[o, k]] + offset[o, g],          g = k / group
///
///   affine integers (GPTQ, AWQ, Q4_1)   table[c] = c - m,   offset = scale (m - zero)
///   symmetric integers (Q4_0)           table[c] = c - 8,   no offset
///   NF4, FP4, MXFP4, LLM-FP4            the values of the format, no offset
///   2 and 3 bits                        the same with codes below 4 and 8
///
/// Scales and offsets are rounded to fp16, as checkpoints keep them: 4.5 bits per weight with
/// groups of 32, 5 with offsets.
///
/// Layout, for panels of NR outputs (64, 16 or 8 with AVX-512, AVX2 or SSE): 32-bit words
/// [in / 4][NR / 2]; the word of output c and inputs 4 q ... 4 q + 3 has in its byte i the code of
/// (c, 4 q + i) in the lower half and that of (c + NR / 2, 4 q + i) in the upper one. So a word
/// shifted by 4 j is an index into the table, and a word masked is four bytes for a dot product.
namespace weft::quant {

/// The values of the codes 0, ..., 15 before scale and offset.
using FourBitTable = std::array<float, 16>;

/// first, first + 1, ..., first + 15: integers.
constexpr FourBitTable integer_table(int first) noexcept {
  FourBitTable table{};
  for (int c = 0; c < 16; ++c) table[static_cast<std::size_t>(c)] = static_cast<float>(first + c);
  return table;
}

template <class A = DefaultArch>
class FourBitWeight {
 public:
  using arch = A;
  using Word = std::uint32_t;
  static constexpr Index kCols = weft::detail::kTileCols<float, A>;
  static constexpr Index kHalf = kCols / 2;

  /// codes [out, in] of 0 to 15; scale and offset [out, ceil(in / group)], offset or none. Throws
  /// where they do not fit, where group is no positive multiple of 4 (or all of in), and where a
  /// scale or an offset is not finite in fp16.
  FourBitWeight(View<const std::uint8_t, 2> codes, Index group, View<const float, 2> scale,
                View<const float, 2> offset = {}, const FourBitTable& table = integer_table(0))
      : table_(table), rows_(codes.extent(0)), cols_(codes.extent(1)), group_(group) {
    require(group >= 1 && (group % 4 == 0 || group >= cols_), "FourBitWeight: groups of ", group,
            " inputs, wanted a multiple of 4");
    if (group_ >= cols_) group_ = round_up(std::max<Index>(cols_, 1), 4);
    check_grid("scale", scale);
    if (offset.data() != nullptr) check_grid("offset", offset);
    const Index panels = ceil_div(rows_, kCols);
    words_ = Tensor<Word, 1>({panels * quads() * kHalf});
    scale_ = pack_grid(scale, panels);
    if (offset.data() != nullptr) offset_ = pack_grid(offset, panels);
    for (Index o = 0; o < rows_; ++o)
      for (Index k = 0; k < cols_; ++k) {
        require(codes(o, k) < 16, "FourBitWeight: code ", int{codes(o, k)}, " of (", o, ", ", k,
                ") has more than 4 bits");
        words_(word(o, k)) |= Word{codes(o, k)} << shift(o, k);
      }
  }

  /// What quantize<std::uint8_t or std::int8_t>(x, scheme) gave with groups of columns of a row.
  /// There are no offsets where all zero points are the same, as in symmetric GPTQ.
  template <class Code>
  explicit FourBitWeight(const QuantizedMatrix<Code>& q)
      : FourBitWeight(unsigned_codes_of(q).view(), q.block.cols, q.scale.view(),
                      offsets_of(q).view(), integer_table(q.range.low - middle_zero(q))) {}

  Index rows() const noexcept { return rows_; }
  Index cols() const noexcept { return cols_; }
  Index group() const noexcept { return group_; }
  Index groups() const noexcept { return ceil_div(cols_, group_); }
  /// Inputs up to whole words; what is beyond cols() decodes to something finite.
  Index padded_cols() const noexcept { return 4 * quads(); }
  /// Words along the inputs.
  Index quads() const noexcept { return ceil_div(cols_, 4); }
  Index bytes() const noexcept { return 4 * words_.size() + 2 * (scale_.size() + offset_.size()); }
  bool has_offset() const noexcept { return offset_.size() != 0; }
  const FourBitTable& table() const noexcept { return table_; }

  /// Whether the table is that of integers, and then table[0].
  bool is_integer() const noexcept {
    return std::floor(table_[0]) == table_[0] && std::abs(table_[0]) <= 128 &&
           table_ == integer_table(static_cast<int>(table_[0]));
  }

  const Word* words(Index panel) const noexcept { return words_.data() + panel * quads() * kHalf; }
  /// The kCols scales of a group of inputs.
  const fp16* scale(Index panel, Index g) const noexcept { return at(scale_, panel, g); }
  const fp16* offset(Index panel, Index g) const noexcept { return at(offset_, panel, g); }

  /// One element, decoded.
  float operator()(Index o, Index k) const noexcept {
    const std::size_t code = (words_(word(o, k)) >> shift(o, k)) & 15u;
    const Index panel = o / kCols, g = k / group_, c = o % kCols;
    const float value = static_cast<float>(scale(panel, g)[c]) * table_[code];
    return has_offset() ? value + static_cast<float>(offset(panel, g)[c]) : value;
  }

 private:
  Index word(Index o, Index k) const noexcept {
    return (o / kCols * quads() + k / 4) * kHalf + o % kHalf;
  }
  static int shift(Index o, Index k) noexcept {
    return static_cast<int>(k % 4 * 8 + o % kCols / kHalf * 4);
  }
  const fp16* at(const Tensor<fp16, 1>& grid, Index panel, Index g) const noexcept {
    return grid.data() + (panel * groups() + g) * kCols;
  }

  void check_grid(const char* name, const View<const float, 2>& grid) const {
    require(grid.extent(0) == rows_ && grid.extent(1) == ceil_div(cols_, group_),
            "FourBitWeight: ", name, " is ", grid, ", wanted [", rows_, ", ",
            ceil_div(cols_, group_), "]");
    for (Index o = 0; o < grid.extent(0); ++o)
      for (Index g = 0; g < grid.extent(1); ++g)
        require(std::abs(grid(o, g)) < 65520.f, "FourBitWeight: ", name, " ", grid(o, g), " of (",
                o, ", ", g, ") is not finite in fp16");
  }

  Tensor<fp16, 1> pack_grid(const View<const float, 2>& grid, Index panels) const {
    Tensor<fp16, 1> out({panels * groups() * kCols});
    for (Index o = 0; o < rows_; ++o)
      for (Index g = 0; g < groups(); ++g)
        out((o / kCols * groups() + g) * kCols + o % kCols) = fp16(grid(o, g));
    return out;
  }

  template <class Code>
  static Tensor<std::uint8_t, 2> unsigned_codes_of(const QuantizedMatrix<Code>& q) {
    require(q.block.rows == 1 || q.codes.extent(0) <= 1, "FourBitWeight: blocks of ", q.block.rows,
            " rows, wanted groups of a row");
    require(q.range.high - q.range.low <= 15, "FourBitWeight: codes of ", q.range.low, " to ",
            q.range.high, " have more than 4 bits");
    Tensor<std::uint8_t, 2> codes(q.codes.shape());
    for (Index i = 0; i < codes.size(); ++i)
      codes.data()[i] = static_cast<std::uint8_t>(q.codes.data()[i] - q.range.low);
    return codes;
  }

  /// The zero point that the table takes care of.
  template <class Code>
  static int middle_zero(const QuantizedMatrix<Code>& q) {
    if (q.zero.size() == 0) return 0;
    const auto [least, most] = std::ranges::minmax(q.zero.span());
    return std::clamp((least + most) / 2, q.range.low, q.range.high);
  }
  /// What remains of the zero points; none where they are all the same.
  template <class Code>
  static Tensor<float, 2> offsets_of(const QuantizedMatrix<Code>& q) {
    const int middle = middle_zero(q);
    if (std::ranges::all_of(q.zero.span(), [=](int zero) { return zero == middle; })) return {};
    Tensor<float, 2> offset(q.scale.shape());
    for (Index i = 0; i < offset.size(); ++i)
      offset.data()[i] = q.scale.data()[i] * static_cast<float>(middle - q.zero.data()[i]);
    return offset;
  }

  Tensor<Word, 1> words_;
  Tensor<fp16, 1> scale_, offset_;
  FourBitTable table_;
  Index rows_, cols_, group_;
};

}  // namespace weft::quant
