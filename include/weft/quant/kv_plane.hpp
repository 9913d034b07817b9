#pragma once

#include <weft/core/simd.hpp>
#include <weft/quant/kv_format.hpp>

/// Keys and values as codes, laid out for attention on the codes themselves (kv_products.hpp).
///
/// Both are planes of a fixed number of tokens of [B, Hk] heads. Which of the tokens are valid is
/// the owner's business; all memory is initialised.
namespace weft::quant {

/// Sizes of a plane.
struct PlaneSizes {
  Index batch, heads, tokens, dim;
};

namespace detail {

/// Numbers that lie side by side in a word: number i of 32 / bits has its code at bit
/// 8 (i mod 4) + bits (i / 4), so that the word masked, or shifted and masked, holds four
/// neighbours as bytes.
struct CodeWord {
  int bits;

  Index count() const noexcept { return 32 / bits; }
  int shift(Index i) const noexcept {
    return static_cast<int>(8 * (i % 4) + bits * (i % count() / 4));
  }
  std::uint32_t mask() const noexcept { return (1u << bits) - 1u; }
  int get(std::uint32_t word, Index i) const noexcept {
    return static_cast<int>(word >> shift(i) & mask());
  }
  void set(std::uint32_t& word, Index i, int code) const noexcept {
    word = (word & ~(mask() << shift(i))) | static_cast<std::uint32_t>(code) << shift(i);
  }
};

}  // namespace detail

/// Keys in panels of 64 tokens: the words of a token run over its channels, and word w of all
/// tokens of a panel lie side by side. So tokens are lanes of a register, and dot products sums
/// over words.
///
/// A grid belongs to a token (`group` 0), or to `group` consecutive tokens of one channel (KIVI).
class KeyPlane {
 public:
  static constexpr Index kPanel = 64;

  KeyPlane() = default;
  KeyPlane(const PlaneSizes& sizes, const KvFormat& format, Index group)
      : format_(format),
        dim_(sizes.dim),
        group_(group),
        words_(ceil_div(sizes.dim, word().count())),
        codes_({sizes.batch, sizes.heads, ceil_div(sizes.tokens, kPanel), words_, kPanel}) {
    const Index tokens = codes_.extent(2) * kPanel;
    scale_ = Tensor<float, 4>(
        group == 0 ? Tensor<float, 4>::Extents{sizes.batch, sizes.heads, 1, tokens}
                   : Tensor<float, 4>::Extents{sizes.batch, sizes.heads,
                                               ceil_div(sizes.tokens, group), round_up(dim_, 16)});
    if (!format.symmetric) low_ = Tensor<float, 4>(scale_.shape());
  }

  const KvFormat& format() const noexcept { return format_; }
  Index dim() const noexcept { return dim_; }
  Index group() const noexcept { return group_; }
  Index words() const noexcept { return words_; }
  Index bytes() const noexcept { return 4 * (codes_.size() + scale_.size() + low_.size()); }

  /// Tokens [t, t + n), both multiples of the group, from rows `step` apart.
  void put(Index b, Index h, Index t, Index n, const float* rows, Index step) noexcept {
    const Index tokens = group_ == 0 ? 1 : group_, channels = group_ == 0 ? dim_ : 1;
    for (Index i = 0; i < n; i += tokens, rows += tokens * step)
      for (Index d = 0; d < dim_; d += channels) {
        const KvGrid grid =
            fit_grid(format_, rows + d, std::max(tokens, channels), group_ == 0 ? 1 : step);
        set_grid(b, h, t + i, d, grid);
        for (Index j = 0; j < tokens; ++j)
          for (Index c = d; c < d + channels; ++c)
            set_code(b, h, t + i + j, c, grid.is_finite() ? grid.encode(rows[j * step + c]) : 0);
      }
  }

  int code(Index b, Index h, Index t, Index d) const noexcept {
    return word().get(codes_(b, h, t / kPanel, d / word().count(), t % kPanel), d);
  }
  void set_code(Index b, Index h, Index t, Index d, int code) noexcept {
    word().set(codes_(b, h, t / kPanel, d / word().count(), t % kPanel), d, code);
  }

  /// The grid of channel d of token t.
  KvGrid grid(Index b, Index h, Index t, Index d) const noexcept {
    const Index row = group_ == 0 ? 0 : t / group_, col = group_ == 0 ? t : d;
    return {format_, scale_(b, h, row, col), format_.symmetric ? 0.f : low_(b, h, row, col)};
  }
  void set_grid(Index b, Index h, Index t, Index d, const KvGrid& grid) noexcept {
    const Index row = group_ == 0 ? 0 : t / group_, col = group_ == 0 ? t : d;
    scale_(b, h, row, col) = grid.scale;
    if (!format_.symmetric) low_(b, h, row, col) = grid.low;
  }

  /// Rows [t, t + n) as floats, `ld` apart and zero behind their channels.
  void read(Index b, Index h, Index t, Index n, float* to, Index ld) const noexcept {
    const Index count = word().count();
    for (; n > 0; --n, ++t, to += ld) {
      const std::uint32_t* words = panel(b, h, t) + t % kPanel;
      const float* scale = scales(b, h, t);
      const float* low = lows(b, h, t);
      for (Index d = 0; d < dim_; ++d) {
        const Index g = group_ == 0 ? 0 : d;
        to[d] = KvGrid{format_, scale[g], low == nullptr ? 0.f : low[g]}.decode(
            word().get(words[d / count * kPanel], d));
      }
      std::fill(to + dim_, to + ld, 0.f);
    }
  }

  /// What the products read: the panel of a token, [words][64]; and the scales and least numbers of
  /// tokens from t on, or of the channels of its group. `lows` is null if symmetric.
  const std::uint32_t* panel(Index b, Index h, Index t) const noexcept {
    return codes_.view().pointer(b, h, t / kPanel);
  }
  const float* scales(Index b, Index h, Index t) const noexcept { return at(scale_, b, h, t); }
  const float* lows(Index b, Index h, Index t) const noexcept {
    return format_.symmetric ? nullptr : at(low_, b, h, t);
  }

 private:
  detail::CodeWord word() const noexcept { return {format_.bits}; }
  const float* at(const Tensor<float, 4>& grids, Index b, Index h, Index t) const noexcept {
    return group_ == 0 ? grids.view().pointer(b, h, 0, t) : grids.view().pointer(b, h, t / group_);
  }

  KvFormat format_;
  Index dim_ = 0, group_ = 0, words_ = 0;
  Tensor<std::uint32_t, 5> codes_;  ///< [B, Hk, panels, words, 64]
  Tensor<float, 4> scale_, low_;    ///< [B, Hk, 1, tokens], or [B, Hk, groups, D]
};

/// Values the other way round: words run over the tokens, and words of all channels lie side by
/// side. So channels are lanes, and weighted sums of tokens are sums over words.
///
/// A grid belongs to a token, or to `group` consecutive channels of one (KIVI).
class ValuePlane {
 public:
  ValuePlane() = default;
  ValuePlane(const PlaneSizes& sizes, const KvFormat& format, Index group)
      : format_(format),
        dim_(sizes.dim),
        group_(group == 0 ? sizes.dim : group),
        codes_({sizes.batch, sizes.heads, ceil_div(sizes.tokens, word().count()),
                round_up(sizes.dim, 16)}) {
    // Whole registers of grids may be read from any token on.
    scale_ = Tensor<float, 4>(
        {sizes.batch, sizes.heads, ceil_div(dim_, group_), round_up(sizes.tokens, 16) + 16});
    if (!format.symmetric) low_ = Tensor<float, 4>(scale_.shape());
  }

  const KvFormat& format() const noexcept { return format_; }
  Index dim() const noexcept { return dim_; }
  Index group() const noexcept { return group_; }
  Index groups() const noexcept { return scale_.extent(2); }
  Index word_tokens() const noexcept { return word().count(); }
  Index row_words() const noexcept { return codes_.extent(3); }
  Index bytes() const noexcept { return 4 * (codes_.size() + scale_.size() + low_.size()); }

  /// Tokens [t, t + n) from rows `step` apart.
  void put(Index b, Index h, Index t, Index n, const float* rows, Index step) noexcept {
    for (Index i = 0; i < n; ++i, rows += step)
      for (Index first = 0; first < dim_; first += group_) {
        const Index stop = std::min(dim_, first + group_);
        const KvGrid grid = fit_grid(format_, rows + first, stop - first, 1);
        set_grid(b, h, t + i, first, grid);
        for (Index d = first; d < stop; ++d)
          set_code(b, h, t + i, d, grid.is_finite() ? grid.encode(rows[d]) : 0);
      }
  }

  int code(Index b, Index h, Index t, Index d) const noexcept {
    return word().get(codes_(b, h, t / word().count(), d), t);
  }
  void set_code(Index b, Index h, Index t, Index d, int code) noexcept {
    word().set(codes_(b, h, t / word().count(), d), t, code);
  }

  /// The grid of channel d of token t.
  KvGrid grid(Index b, Index h, Index t, Index d) const noexcept {
    const Index g = d / group_;
    return {format_, scale_(b, h, g, t), format_.symmetric ? 0.f : low_(b, h, g, t)};
  }
  void set_grid(Index b, Index h, Index t, Index d, const KvGrid& grid) noexcept {
    scale_(b, h, d / group_, t) = grid.scale;
    if (!format_.symmetric) low_(b, h, d / group_, t) = grid.low;
  }

  /// Rows [t, t + n) as floats, `ld` apart and zero behind their channels.
  void read(Index b, Index h, Index t, Index n, float* to, Index ld) const noexcept {
    for (; n > 0; --n, ++t, to += ld) {
      const std::uint32_t* row = words(b, h, t);
      for (Index first = 0; first < dim_; first += group_) {
        const KvGrid own = grid(b, h, t, first);
        const Index stop = std::min(dim_, first + group_);
        for (Index d = first; d < stop; ++d) to[d] = own.decode(word().get(row[d], t));
      }
      std::fill(to + dim_, to + ld, 0.f);
    }
  }

  /// What the products read: the words of token t and its neighbours; scales and least numbers of
  /// group g of channels from token t on. `lows` is null if symmetric.
  const std::uint32_t* words(Index b, Index h, Index t) const noexcept {
    return codes_.view().pointer(b, h, t / word().count());
  }
  const float* scales(Index b, Index h, Index g, Index t) const noexcept {
    return scale_.view().pointer(b, h, g, t);
  }
  const float* lows(Index b, Index h, Index g, Index t) const noexcept {
    return format_.symmetric ? nullptr : low_.view().pointer(b, h, g, t);
  }

 private:
  detail::CodeWord word() const noexcept { return {format_.bits}; }

  KvFormat format_;
  Index dim_ = 0, group_ = 1;
  Tensor<std::uint32_t, 4> codes_;  ///< [B, Hk, tokens / (32 / bits), E]
  Tensor<float, 4> scale_, low_;    ///< [B, Hk, groups, tokens]
};

}  // namespace weft::quant
