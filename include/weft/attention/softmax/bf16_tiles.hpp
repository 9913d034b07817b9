#pragma once

#include <weft/attention/softmax/tiles.hpp>
#include <weft/core/tile_bf16.hpp>

namespace weft::detail {

/// The products of a tile with bf16 operands and fp32 sums: q, k, v and the weights are rounded to
/// bf16, everything else stays fp32. Layouts as tile_bf16.hpp wants them: pairs of channels in Q
/// and K, pairs of keys in P and V.
template <class A>
struct Bf16Tiles {
  using Operand = Bf16Pair;

  static constexpr Index kRows = kBf16Rows<A>;
  static constexpr Index kPanel = kTileCols<float, A>;
  static constexpr Index kLd = kTileLd<float, A>;   ///< in pairs
  static constexpr Index kChannels = 2 * kKeyTile;  ///< of one tile of queries
  static constexpr Index W = kWidth<float, A>;

  bool tiles = A::tile_bf16 && tiles_granted();

  struct Session : TileSession {
    explicit Session(const Bf16Tiles& product) noexcept : TileSession(product.tiles) {}
  };

  static constexpr Index tile_height(Index) noexcept { return kRows; }
  static constexpr Index padded_rows(Index rows) noexcept { return bf16_rows_touched<A>(rows); }
  static constexpr Index value_ld(Index dim) noexcept { return round_up(dim, kPanel); }
  static constexpr Index query_tile_size(Index dim) noexcept {
    return ceil_div(dim, kChannels) * kRows * kLd;
  }
  /// The panels, and behind them the rounded rows that they are transposed from.
  static constexpr Index key_panels_size(Index keys, Index dim) noexcept {
    return (round_up(keys, kPanel) + keys) * bf16_pairs<A>(dim);
  }
  static constexpr Index value_panels_size(Index keys, Index dim) noexcept {
    return bf16_pairs<A>(keys) * value_ld(dim);
  }
  static constexpr Index weights_size() noexcept { return kRows * kLd; }

  static void put_query(const float* row, float scale, Index r, Index dim,
                        Bf16Pair* tile) noexcept {
    for (Index d = 0; d < 2 * bf16_pairs<A>(dim); d += W) {
      Bf16Pair* to = tile + (d / kChannels * kRows + r) * kLd + d % kChannels / 2;
      put_rounded(row, scale, d, dim, &to->first);
    }
  }

  static void pack_keys(const RowsOf<float>& k, Index n, Index dim, Bf16Pair* panels) noexcept {
    const Index pairs = bf16_pairs<A>(dim);
    Bf16Pair* rows = panels + round_up(n, kPanel) * pairs;
    for (Index j = 0; j < n; ++j)
      for (Index d = 0; d < 2 * pairs; d += W)
        put_rounded(k.at + j * k.step, 1.f, d, dim, &rows[j * pairs + d / 2].first);
    // A pair is moved like a float.
    pack_cols<A>(reinterpret_cast<const float*>(rows), 1, pairs, pairs, n,
                 reinterpret_cast<float*>(panels));
  }

  /// Panels [value_ld / kPanel][keys / 2][kPanel] of pairs of rows; what is missing is zero.
  static void pack_values(const RowsOf<float>& v, Index n, Index dim, Bf16Pair* panels) noexcept {
    const Index pairs = bf16_pairs<A>(n), readable = round_up(dim, W);
    std::fill_n(panels, value_panels_size(n, dim), Bf16Pair{bf16(0.f), bf16(0.f)});
    alignas(64) const float zeros[kPanel] = {};
    for (Index j = 0; j < n; j += 2)
      for (Index e = 0; e < readable; e += kPanel) {
        const float* row = v.at + j * v.step + e;
        pair_rows<A>(row, j + 1 < n ? row + v.step : zeros, std::min(kPanel, readable - e),
                     panels + (e * pairs + j / 2 * kPanel));
      }
  }

  static Bf16Pair* weights_of(float*, Bf16Pair* weights) noexcept { return weights; }
  static bf16* weight_row(Bf16Pair* weights, Index r) noexcept { return &weights[r * kLd].first; }

  /// Nothing is prefetched: tile registers have no steps to do it in.
  template <class Prefetch>
  void logits(const Bf16Pair* q, Index rows, Index dim, const Bf16Pair* panels, Index, Index begin,
              Index end, float* s, Prefetch) const noexcept {
    const Index pairs = bf16_pairs<A>(dim);
    for (Index c = begin; c < end; c += kPanel)
      for (Index d = 0; d < dim; d += kChannels)
        bf16_product<A, kLd>(rows, bf16_pairs<A>(std::min(kChannels, dim - d)),
                             q + d / kChannels * kRows * kLd, panels + c * pairs + d / 2 * kPanel,
                             s + c, kLd, d > 0, tiles);
  }

  void add_values(Bf16Pair* p, Index rows, Index begin, Index end, const RowsOf<float>&,
                  const Bf16Pair* panels, Index keys, Index value_ld, float* acc,
                  bool accumulate) const noexcept {
    const Index depth = bf16_pairs<A>(end - begin);
    for (Index r = 0; r < rows; ++r)
      for (Index c = round_up(end, W); c < begin + 2 * depth; ++c) weight_row(p, r)[c] = bf16(0.f);
    for (Index e = 0; e < value_ld; e += kPanel)
      bf16_product<A, kLd>(rows, depth, p + begin / 2,
                           panels + e * bf16_pairs<A>(keys) + begin / 2 * kPanel, acc + e, value_ld,
                           accumulate, tiles);
  }

 private:
  /// to[0, W) = scale row[d, d + W), rounded; zero from `dim` on, where the row ends.
  static void put_rounded(const float* row, float scale, Index d, Index dim, bf16* to) noexcept {
    const Index left = std::clamp<Index>(dim - d, 0, W);
    const Vec<float, A> x = left == 0 ? Vec<float, A>(0.f) : load_partial<A>(row + d, left);
    store_as<A>(to, x * Vec<float, A>(scale));
  }
};

}  // namespace weft::detail

namespace weft {

/// Products of operands rounded to bf16 with fp32 sums, for fp32, bf16 and fp16 storage: on AMX or
/// AVX-512 BF16 where the target has them, on plain vectors elsewhere (then FullPrecision is
/// quicker: choose by `DefaultArch::tile_bf16 || DefaultArch::dot_bf16`). q, k, v and the weights
/// carry 8 bits; the logits of a head of D channels are off by about 2^-8 |q| |k| scale, the output
/// by about 2^-8 of the largest |v|. Few query rows (decode) are computed in fp32: reading the
/// cache is their cost.
struct Bf16Products {
  template <class T, class A>
  using Tiles = detail::Bf16Tiles<A>;
};

}  // namespace weft
