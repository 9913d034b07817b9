#pragma once

#include <weft/attention/softmax/kv_source.hpp>
#include <weft/core/pack.hpp>
#include <weft/core/tile_product.hpp>

/// The two matrix products of a tile of attention.
namespace weft::detail {

/// Query rows x keys of one tile of logits. 28 x 256 floats sit in L1 together with one panel of K.
template <class A>
inline constexpr Index kQueryTile = kRegisters<A> == 32 ? 28 : 24;
inline constexpr Index kKeyTile = 256;

/// Row length of a tile of queries or logits, the left operands of both products. It is a constant,
/// so that one set of register tiles serves both and none needs a register for its row length, and
/// not a multiple of 4 KiB, so that rows fall in different sets of the cache.
template <class T, class A>
inline constexpr Index kTileLd = kKeyTile + kWidth<T, A>;

/// Rows are computed in register blocks of RowCut(rows).height; rows that only fill up the last block
/// must be readable and are ignored.
template <class T, class A>
struct Tiles {
  static constexpr Index kPanel = kTileCols<T, A>;
  static constexpr Index kLd = kTileLd<T, A>;

  /// A head of more than kKeyTile channels is kept as several tiles of queries.
  static constexpr Index segments(Index dim) noexcept { return ceil_div(dim, kKeyTile); }
  static constexpr Index query_tile_size(Index dim) noexcept {
    return segments(dim) * kQueryTile<A> * kLd;
  }

  /// Row r of a query tile, scaled.
  static void put_query(const T* row, T scale, Index r, Index dim, T* tile) noexcept {
    constexpr Index W = kWidth<T, A>;
    const Vec<T, A> factor(scale);
    for (Index d = 0; d < dim; d += W) {
      T* to = tile + (d / kKeyTile * kQueryTile<A> + r) * kLd + d % kKeyTile;
      store<A>(to, load<A>(row + d) * factor);
    }
  }

  /// Packs the transpose of n rows of k into panels [n / kPanel][dim][kPanel].
  static void pack_keys(const T* k, Index ld, Index n, Index dim, T* panels) noexcept {
    pack_cols<A>(k, 1, ld, dim, n, panels);
  }

  /// s[r, begin .. end) = q k^T, rounded up to whole vectors; begin is a multiple of kPanel.
  static void logits(const T* q, Index rows, Index dim, const T* panels, Index begin, Index end,
                     T* s) noexcept {
    for (Index c = begin; c < end; c += kPanel) {
      const Index cols = std::min(kPanel, round_up(end - c, kWidth<T, A>));
      for (Index d = 0; d < dim; d += kKeyTile)
        product(rows, cols, std::min(kKeyTile, dim - d), q + d / kKeyTile * kQueryTile<A> * kLd,
                panels + c * dim + d * kPanel, kPanel, s + c, kLd, d > 0);
    }
  }

  /// acc[r, :] += sum over keys c in [begin, end) of p[r, c] v[c, :].
  static void add_values(const T* p, Index rows, Index begin, Index end, const RowsOf<T>& v,
                         Index value_ld, T* acc) noexcept {
    for (Index e = 0; e < value_ld; e += kPanel)
      product(rows, std::min(kPanel, value_ld - e), end - begin, p + begin,
              v.at + begin * v.step + e, v.step, acc + e, value_ld, true);
  }

  /// c[rows x cols] (+)= a b with cols <= kPanel, a multiple of the vector.
  static void product(Index rows, Index cols, Index depth, const T* a, const T* b, Index ldb, T* c,
                      Index ldc, bool accumulate) noexcept {
    const Index height = RowCut<A>(rows).height;
    for (Index r = 0; r < rows; r += height)
      row_block_product<A, FixedRows<kLd>>(tile_rows_for(std::min(height, rows - r)), cols, depth,
                                           a + r * kLd, b, ldb, c + r * ldc, ldc, accumulate);
  }
};

}  // namespace weft::detail
