#pragma once

#include <weft/attention/softmax/kv_source.hpp>
#include <weft/core/pack.hpp>
#include <weft/core/tile_product.hpp>

/// The two matrix products of a tile of attention, on operands packed for the register tile.
namespace weft::detail {

/// Query rows x keys of one tile of logits. 28 x 256 floats sit in L1 together with one panel of K.
template <class A>
inline constexpr Index kQueryTile = kRegisters<A> == 32 ? 28 : 24;
inline constexpr Index kKeyTile = 256;

/// Row length of a tile of logits: not a multiple of 4 KiB, so that its rows fall in different sets.
template <class T, class A>
inline constexpr Index kLogitsLd = kKeyTile + kWidth<T, A>;

/// A query tile of `rows` rows is cut into RowCut(rows) register blocks; rows that only fill up the
/// last block are computed from zeros and ignored.
template <class T, class A>
struct PackedTiles {
  static constexpr Index kPanel = kTileCols<T, A>;
  static constexpr Index kLd = kLogitsLd<T, A>;

  /// Elements that packing may write beyond kQueryTile * dim of the last tile.
  static constexpr Index kSlack = kWidth<T, A>;

  /// Packs `rows` <= kQueryTile rows of q into `to`.
  static void pack_queries(const T* q, Index ld, Index rows, Index dim, T* to) noexcept {
    const Index height = RowCut<A>(rows).height;
    pack_rows<A>(q, ld, 1, rows, dim, height, to, height * dim);
  }

  /// Packs the transpose of n rows of k into panels of kPanel keys.
  static void pack_keys(const T* k, Index ld, Index n, Index dim, T* panels) noexcept {
    pack_cols<A>(k, 1, ld, dim, n, panels);
  }

  /// s[r, begin .. end) = q k^T, rounded up to whole vectors; begin is a multiple of kPanel.
  static void logits(const T* q, Index rows, Index dim, const T* panels, Index begin, Index end,
                     T* s) noexcept {
    const Index height = RowCut<A>(rows).height;
    for (Index c = begin; c < end; c += kPanel) {
      const Index cols = std::min(kPanel, round_up(end - c, kWidth<T, A>));
      for (Index r = 0; r < rows; r += height)
        row_block_product<A, PackedRows>(tile_rows_for(std::min(height, rows - r)), cols, dim,
                                         q + r * dim, panels + c * dim, kPanel, s + r * kLd + c,
                                         kLd, false);
    }
  }

  /// acc[r, :] += sum over keys c in [begin, end) of p[r, c] v[c, :].
  static void add_values(const T* p, Index rows, Index begin, Index end, const RowsOf<T>& v,
                         Index value_ld, T* acc) noexcept {
    const Index height = RowCut<A>(rows).height;
    for (Index e = 0; e < value_ld; e += kPanel) {
      const Index cols = std::min(kPanel, value_ld - e);
      for (Index r = 0; r < rows; r += height)
        row_block_product<A, FixedRows<kLd>>(tile_rows_for(std::min(height, rows - r)), cols,
                                             end - begin, p + r * kLd + begin,
                                             v.at + begin * v.step + e, v.step,
                                             acc + r * value_ld + e, value_ld, true);
    }
  }
};

}  // namespace weft::detail
