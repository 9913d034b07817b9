#pragma once

#include <weft/core/epilogue.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/pack.hpp>

#include <array>

/// The loop nest around the register tile.
///
///   for a chunk of rows (A packed once, for all tasks)
///     task: a block of rows x a block of columns of C
///       for a block of the depth                           B of this block: kBlockBytes, in L2
///         for a group of row tiles                         A of this group: kBlockBytes, in L2
///           for a panel of B, for a row tile               one register tile of C
///
/// Per step of the depth a tile of R x NR needs R + NR operands from L1 or L2 and does R * NR
/// multiply-adds: at 14 x 32 that is 13 bytes per cycle at the full rate of two FMAs, which L2
/// sustains. C is read and written once per depth block. So the floor is
/// 2 M N K / peak as long as B fits in the cache or M is a few tiles, else bytes(B) / bandwidth.
///
/// Tasks are cut by shape alone, and every element of C is summed in the same order whoever runs
/// its task.
namespace weft::detail {

/// Depth of one pass over C.
template <class T>
inline constexpr Index kDepthBlock = static_cast<Index>(2048 / sizeof(T));

/// Packed A, and packed B, of one depth block that are in use at the same time: half of a small L2
/// together (1 MB on Zen 4, 2 MB on Sapphire Rapids).
inline constexpr Index kBlockBytes = 512 * 1024;

/// Packed A of one chunk of rows over the whole depth, and its least number of rows.
inline constexpr Index kChunkBytes = 4 << 20;
inline constexpr Index kChunkRows = 112;

template <class T>
using TileFunction = void (*)(Index depth, const T* a, const T* b, Index ldb, T* c, Index ldc,
                              bool accumulate) noexcept;

/// The register tile of `height` rows, one of the values of tile_rows_for.
template <class A, class T>
TileFunction<T> tile_function(Index height) noexcept {
  static constexpr auto kTable = []<int... I>(std::integer_sequence<int, I...>) {
    return std::array<TileFunction<T>, sizeof...(I)>{
        register_tile<A, I == 0 ? 1 : 2 * I, kTileVectors, PackedRows, T>...};
  }(std::make_integer_sequence<int, kTileRows<A> / 2 + 1>{});
  return kTable[static_cast<std::size_t>(height / 2)];
}

/// Rows of A, packed. Tile i holds rows [i * height, ...) at data + i * stride.
template <class T>
struct PackedRowTiles {
  const T* data;
  Index stride, rows, height;

  Index tiles() const noexcept { return ceil_div(rows, height); }
  Index count(Index tile) const noexcept { return std::min(height, rows - tile * height); }
  /// Rows [k, ...) of the depth of one tile.
  const T* at(Index tile, Index k) const noexcept {
    return data + tile * stride + k * tile_rows_for(count(tile));
  }
};

/// All rows of `a`, packed into the scratch memory that the tasks share.
template <class T, class A, class S>
PackedRowTiles<T> pack_chunk(const View<const S, 2>& a, const Context& ctx) {
  constexpr Index kTilesPerTask = 8;
  const RowCut<A> cut(a.extent(0));
  const Index stride = panel_size<T, A>(a.extent(1), cut.height);
  const Index task_rows = kTilesPerTask * cut.height;
  T* packed = ctx.arena().take<T>(cut.tiles * stride);
  ctx.parallel(ceil_div(cut.tiles, kTilesPerTask), [&](Index task, Arena&) {
    const Index row = task * task_rows;
    pack_rows<A>(a.pointer(row), a.stride(0), a.stride(1), std::min(task_rows, a.extent(0) - row),
                 a.extent(1), cut.height, packed + task * kTilesPerTask * stride, stride);
  });
  return {packed, stride, a.extent(0), cut.height};
}

/// Panels of B, packed: panel j at data + j * stride.
template <class T>
struct PackedPanels {
  const T* data;
  Index stride;
};

/// B that was packed beforehand over its whole depth.
template <class T, class A>
struct ConstantPanels {
  const T* data;
  Index depth;

  PackedPanels<T> block(Index panel, Index, Index k, Index, Arena&) const noexcept {
    constexpr Index NR = kTileCols<T, A>;
    return {data + panel * depth * NR + k * NR, depth * NR};
  }
};

/// B as the caller has it: every task packs the block that it is about to use.
template <class T, class A, class S>
struct PackedOnUse {
  View<const S, 2> b;

  PackedPanels<T> block(Index panel, Index panels, Index k, Index depth, Arena& arena) const {
    constexpr Index NR = kTileCols<T, A>;
    const Index col = panel * NR;
    T* to = arena.take<T>(panels * depth * NR);
    pack_cols<A>(b.pointer(k, col), b.stride(0), b.stride(1), depth,
                 std::min(panels * NR, b.extent(1) - col), to);
    return {to, depth * NR};
  }
};

/// Accumulators through the epilogue into C: the `rows` x `cols` elements from (row, col) on.
template <class A, class T, class S, class E>
void store_tile(const T* sums, const View<S, 2>& c, Index row, Index col, Index rows, Index cols,
                const E& epilogue) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>, NR = kTileCols<T, A>;
  for (Index r = 0; r < rows; ++r)
    for (Index n = 0; n < cols; n += W) {
      const Index lanes = std::min(W, cols - n);
      const V v = epilogue(load<A>(sums + r * NR + n), row + r, col + n, lanes);
      S* to = c.pointer(row + r, col + n);
      if (c.stride(1) != 1) {
        alignas(64) T out[W];
        v.store_aligned(out);
        for (Index i = 0; i < lanes; ++i) to[i * c.stride(1)] = static_cast<S>(out[i]);
      } else if (lanes == W) {
        store_as<A>(to, v);
      } else {
        store_as_partial<A>(to, v, lanes);
      }
    }
}

/// One task: the tiles of a range of row tiles and panels over the whole depth.
template <class T, class A, class S, class B, class E>
struct BlockProduct {
  const PackedRowTiles<T>& a;
  const B& b;
  const View<S, 2>& c;
  const E& epilogue;
  Index row0;  ///< row of C that the first row of `a` belongs to
  Index depth;

  static constexpr Index NR = kTileCols<T, A>;
  static constexpr Index kTileSize = kTileRows<A> * NR;

  void operator()(Index tile0, Index tile1, Index panel0, Index panel1, Arena& arena) const {
    const bool one_pass = depth <= kDepthBlock<T>;
    // Partial sums of the tiles that cannot be kept in C itself.
    T* sums = arena.take<T>(one_pass ? kTileSize : (tile1 - tile0) * (panel1 - panel0) * kTileSize);
    const Index group = std::max<Index>(
        1, kBlockBytes / (a.height * std::min(depth + 1, kDepthBlock<T>) * Index{sizeof(T)}));
    for (Index k = 0; k == 0 || k < depth; k += kDepthBlock<T>) {
      Arena::Frame frame(arena);
      const Index steps = std::min(kDepthBlock<T>, depth - k);
      const PackedPanels<T> panels = b.block(panel0, panel1 - panel0, k, steps, arena);
      for (Index first = tile0; first < tile1; first += group)
        for (Index j = panel0; j < panel1; ++j)
          for (Index i = first; i < std::min(first + group, tile1); ++i) {
            const Index at = one_pass ? 0 : (j - panel0) * (tile1 - tile0) + i - tile0;
            tile(i, j, k, steps, panels.data + (j - panel0) * panels.stride,
                 sums + at * kTileSize);
          }
    }
  }

 private:
  void tile(Index i, Index j, Index k, Index steps, const T* panel, T* sums) const {
    const Index rows = a.count(i), height = tile_rows_for(rows);
    const Index row = row0 + i * a.height, col = j * NR, cols = std::min(NR, c.extent(1) - col);
    const auto multiply = tile_function<A, T>(height);
    if constexpr (std::is_same_v<S, T> && std::is_same_v<E, NoEpilogue>) {
      if (rows == height && cols == NR && c.stride(1) == 1)
        return multiply(steps, a.at(i, k), panel, NR, c.pointer(row, col), c.stride(0), k != 0);
    }
    multiply(steps, a.at(i, k), panel, NR, sums, NR, k != 0);
    if (k + steps == depth) store_tile<A>(sums, c, row, col, rows, cols, epilogue);
  }
};

/// C = epilogue(A B) for any source of panels; the shapes fit and C is not empty.
template <class T, class A, class SA, class S, class B, class E>
void multiply_blocked(const View<const SA, 2>& a, const B& b, const View<S, 2>& c,
                      const E& epilogue, const Context& ctx) {
  constexpr Index NR = kTileCols<T, A>;
  const Index depth = a.extent(1), panels = ceil_div(c.extent(1), NR);
  const Index row_bytes = std::max<Index>(depth, 1) * Index{sizeof(T)};
  const Index chunk = std::max(kChunkRows, kChunkBytes / row_bytes);
  const Index panel_block = std::max<Index>(
      1, kBlockBytes / (NR * std::min(row_bytes, kDepthBlock<T> * Index{sizeof(T)})));
  for (Index row0 = 0; row0 < a.extent(0); row0 += chunk) {
    Arena::Frame frame(ctx.arena());
    const Index rows = std::min(chunk, a.extent(0) - row0);
    const PackedRowTiles<T> tiles = pack_chunk<T, A>(a.slice(0, row0, rows), ctx);
    const BlockProduct<T, A, S, B, E> product{tiles, b, c, epilogue, row0, depth};
    ctx.parallel(ceil_div(panels, panel_block), [&](Index task, Arena& arena) {
      const Index panel = task * panel_block;
      product(0, tiles.tiles(), panel, std::min(panel + panel_block, panels), arena);
    });
  }
}

}  // namespace weft::detail
