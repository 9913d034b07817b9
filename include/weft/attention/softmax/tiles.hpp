#pragma once

#include <weft/attention/softmax/kv_rows.hpp>
#include <weft/core/pack.hpp>
#include <weft/core/tile_product.hpp>

/// The two matrix products of a tile of attention, S = Q K^T and acc += P V, on operands of T.
///
/// A precision policy names the class that holds them (`template <class T, class A> using Tiles`);
/// this one is FullPrecision's, bf16_tiles.hpp has another with the same interface.
namespace weft::detail {

/// Keys of one tile of logits. kRows x 256 floats sit in L1 together with one panel of K.
inline constexpr Index kKeyTile = 256;

/// Row length of a tile of queries or logits, the left operands of both products. It is a constant,
/// so that one set of register tiles serves both and none needs a register for its row length, and
/// not a multiple of 4 KiB, so that rows fall in different sets of the cache.
template <class T, class A>
inline constexpr Index kTileLd = kKeyTile + kWidth<T, A>;

/// Rows up to padded_rows must be readable: an implementation may compute more than there are, and
/// ignore them.
template <class T, class A>
struct Tiles {
  using Operand = T;

  static constexpr Index kRows = 24;  ///< queries of one tile
  static constexpr Index kPanel = kTileCols<T, A>;
  static constexpr Index kLd = kTileLd<T, A>;

  struct Session {
    explicit Session(const Tiles&) noexcept {}
  };

  /// Queries of all tiles but the last of a task: about equal parts, whole register blocks.
  static constexpr Index tile_height(Index rows) noexcept {
    return round_up(ceil_div(rows, ceil_div(rows, kRows)), kTileRows);
  }
  static constexpr Index padded_rows(Index rows) noexcept { return rows; }
  static constexpr Index value_ld(Index dim) noexcept { return round_up(dim, kWidth<T, A>); }

  /// Elements of the operands: a head of more than kKeyTile channels is kept as several query
  /// tiles.
  static constexpr Index query_tile_size(Index dim) noexcept {
    return ceil_div(dim, kKeyTile) * kRows * kLd;
  }
  static constexpr Index key_panels_size(Index keys, Index dim) noexcept {
    return round_up(keys, kPanel) * dim;
  }
  static constexpr Index value_panels_size(Index, Index) noexcept { return 0; }
  static constexpr Index weights_size() noexcept { return 0; }

  /// Row r of a query tile, scaled. The row is padded to a multiple of the vector.
  static void put_query(const T* row, T scale, Index r, Index dim, T* tile) noexcept {
    const Vec<T, A> factor(scale);
    for (Index part = 0; part < dim; part += kKeyTile, row += kKeyTile) {
      T* to = tile + (part / kKeyTile * kRows + r) * kLd;
      const Index size = std::min(kKeyTile, dim - part);
      for (Index d = 0; d < size; d += kWidth<T, A>) store<A>(to + d, load<A>(row + d) * factor);
    }
  }

  /// Packs the transpose of n rows of k into panels [dim][kPanel], the last one as narrow as its
  /// keys allow.
  static void pack_keys(const RowsOf<T>& k, Index n, Index dim, T* panels) noexcept {
    for (Index c = 0; c < n; c += kPanel)
      pack_panel<A>(k.at + c * k.step, 1, k.step, dim, std::min(kPanel, n - c), panels + c * dim,
                    panel_width(n - c));
  }

  /// Values are read where they are, and weights take the place of the logits.
  static void pack_values(const RowsOf<T>&, Index, Index, T*) noexcept {}
  static T* weights_of(T* logits, T*) noexcept { return logits; }
  static T* weight_row(T* weights, Index r) noexcept { return weights + r * kLd; }

  /// s[r, begin .. end) = q k^T, rounded up to whole vectors; begin is a multiple of kPanel.
  /// `keys`: all that were packed. `prefetch`: what else to ask of memory, see NoPrefetch.
  template <class Prefetch>
  void logits(const T* q, Index rows, Index dim, const T* panels, Index keys, Index begin,
              Index end, T* s, Prefetch prefetch) const noexcept {
    for (Index c = begin; c < end; c += kPanel) {
      const Index cols = panel_width(end - c);
      for (Index d = 0; d < dim; d += kKeyTile)
        product(rows, cols, std::min(kKeyTile, dim - d), q + d / kKeyTile * kRows * kLd,
                panels + c * dim + d * panel_width(keys - c), panel_width(keys - c), s + c, kLd,
                d > 0, prefetch);
    }
  }

  /// acc[r, :] (+)= sum over keys c in [begin, end) of p[r, c] v[c, :].
  void add_values(const T* p, Index rows, Index begin, Index end, const RowsOf<T>& v, const T*,
                  Index, Index value_ld, T* acc, bool accumulate = true) const noexcept {
    // Columns of about equal widths, and of the values that are read only as much as stays in L1.
    constexpr Index kDepth = (32 << 10) / (kPanel * Index{sizeof(T)});
    const Index panels = std::max<Index>(1, ceil_div(value_ld, kPanel));
    const Index width = round_up(ceil_div(value_ld, panels), kWidth<T, A>);
    for (Index e = 0; e < value_ld; e += width)
      for (Index k = begin; k < end; k += kDepth)
        product(rows, std::min(width, value_ld - e), std::min(kDepth, end - k), p + k,
                v.at + k * v.step + e, v.step, acc + e, value_ld, accumulate || k > begin);
  }

 private:
  static constexpr Index panel_width(Index keys) noexcept {
    return std::min(kPanel, round_up(keys, kWidth<T, A>));
  }

  /// c[rows x cols] (+)= a b with cols <= kPanel, a multiple of the vector.
  template <class Prefetch = NoPrefetch>
  static void product(Index rows, Index cols, Index depth, const T* a, const T* b, Index ldb, T* c,
                      Index ldc, bool accumulate, Prefetch prefetch = {}) noexcept {
    strips_product<A, MultiplyAdd<T, A>>(rows, cols, depth, a, std::integral_constant<Index, kLd>{},
                                         b, ldb, c, ldc, accumulate, prefetch);
  }
};

}  // namespace weft::detail

namespace weft {

/// Products in the accumulator type: fp32 for fp32, bf16 and fp16 storage, fp64 for fp64.
struct FullPrecision {
  template <class T, class A>
  using Tiles = detail::Tiles<T, A>;
};

}  // namespace weft
