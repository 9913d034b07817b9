#pragma once

#include <weft/core/epilogue.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/gemm_kernel.hpp>

/// The loop nest around the register tile.
///
///   for a chunk of rows               A, as much as stays in L2, over the whole depth; read in
///                                     place if it lies in rows of the right type, else packed
///     task: a block of rows x a block of columns of C
///       for a pass over the depth     K::kDepthBlock
///         for a panel of B            stays in L2; the next one is fetched meanwhile
///           for a row tile            one register tile of C
///
/// Per step of the depth a tile of 6 x 64 floats needs 70 numbers and takes 12 cycles at the rate
/// of two multiply-adds: 23 bytes per cycle, which L2 sustains. B comes from memory once per chunk,
/// and C is read and written once per pass. So the floor is 2 M N K / peak, or bytes(B) / bandwidth
/// where M is a few tiles.
///
/// Tasks are cut by shape alone, and every element of C is summed in the same order whoever runs
/// its task.
namespace weft::detail {

/// A of one chunk over the whole depth: most of a small L2 (1 MB on Zen 4, 2 MB on Sapphire
/// Rapids); and the rows that it has at least, however deep, so that B is not streamed too often.
inline constexpr Index kChunkBytes = 1 << 20;
inline constexpr Index kChunkRows = 112;

/// Packed B of the columns of a task, for one pass.
inline constexpr Index kBlockBytes = 512 << 10;

/// Multiply-adds worth a task of their own: some 50 microseconds.
inline constexpr Index kTaskWork = 1 << 22;

/// Rows of A as K reads them, row-major. Tile i has K::kRows of them from row i * K::kRows on.
template <class K>
struct RowTiles {
  const typename K::Left* data;
  Index ld, rows;

  Index tiles() const noexcept { return ceil_div(rows, K::kRows); }
  Index count(Index tile) const noexcept { return std::min(K::kRows, rows - tile * K::kRows); }
  const typename K::Left* at(Index tile, Index k) const noexcept {
    return data + tile * K::kRows * ld + k * K::kLefts;
  }
};

/// The rows of `a`: in place if they are what K reads, else in scratch memory that the tasks share.
template <class K, class S>
RowTiles<K> row_tiles(const View<const S, 2>& a, const Context& ctx) {
  using Left = typename K::Left;
  const Index length = K::depth(a.extent(1)) * K::kLefts;
  if constexpr (std::is_same_v<S, Left>)
    if (a.stride(1) == 1 && a.extent(1) == length) return {a.data(), a.stride(0), a.extent(0)};
  if constexpr (requires { K::in_place(a); })
    if (K::in_place(a))
      return {reinterpret_cast<const Left*>(a.data()), a.stride(0) / K::kNumbers, a.extent(0)};
  constexpr Index kAtOnce = 96, W = kWidth<typename K::Sum, typename K::Arch>;
  // One register more, so that rows of 4 KiB do not meet in one set of the cache.
  const Index rows = a.extent(0), ld = round_up(length, W) + W;
  auto* packed = ctx.arena().take<Left>(round_up(rows, K::touched(1)) * ld);
  ctx.parallel(ceil_div(rows, kAtOnce), [&](Index task, Arena&) {
    const Index row = task * kAtOnce;
    K::pack_rows(a.slice(0, row, std::min(kAtOnce, rows - row)), packed + row * ld, ld);
  });
  return {packed, ld, rows};
}

/// Panels of B, packed for K: panel j at data + j * stride.
template <class K>
struct PackedPanels {
  const typename K::Element* data;
  Index stride;
};

/// B, from panel `first` on, packed beforehand over its whole depth of `depth` elements.
template <class K>
struct ConstantPanels {
  using Element = typename K::Element;

  const Element* data;
  Index depth;
  Index first = 0;

  static constexpr bool kMayCutRows = true;

  Index pass() const noexcept { return K::kDepthBlock; }

  PackedPanels<K> block(Index panel0, Index, Index k, Index, Arena&) const noexcept {
    return {data + ((panel0 - first) * depth + k) * K::kCols, depth * K::kCols};
  }

  /// Bytes that are worth fetching before they are used, for each step of the depth.
  static constexpr Index kFetched = K::kCols * Index{sizeof(Element)};
  const Element* fetched(Index panel, Index k) const noexcept {
    return data + ((panel - first) * depth + k) * K::kCols;
  }
};

/// B as the caller has it; every task packs the block that it is about to use: into `packed`, from
/// panel `first` on, where the next chunk finds it, or if that is null into scratch memory.
template <class K, class S>
struct PackedOnUse {
  using Element = typename K::Element;

  View<const S, 2> b;
  Element* packed = nullptr;
  Index first = 0;

  static constexpr bool kMayCutRows = false;  // every piece would pack the same block

  /// Rows are best read as a whole, so blocks are shallow and wide where B lies in rows.
  Index pass() const noexcept {
    return packed == nullptr && b.stride(1) == 1 ? K::kDepthBlock / 4 : K::kDepthBlock;
  }

  PackedPanels<K> block(Index panel0, Index panels, Index k, Index steps, Arena& arena) const {
    const Index depth = packed == nullptr ? steps : K::depth(b.extent(0));
    auto* to = packed == nullptr ? arena.take<Element>(panels * steps * K::kCols)
                                 : packed + ((panel0 - first) * depth + k) * K::kCols;
    const Index row = k * K::kNumbers, col = panel0 * K::kCols;
    const View<const S, 2> part(b.pointer(row, col),
                                {std::min(steps * K::kNumbers, b.extent(0) - row),
                                 std::min(panels * K::kCols, b.extent(1) - col)},
                                b.strides());
    K::pack_panels(part, steps, to, depth * K::kCols);
    return {to, depth * K::kCols};
  }

  static constexpr Index kFetched = 0;  // packing has brought it to L2
};

/// A register of sums through the epilogue into C: the elements from (row, col) on.
template <class A, class V, class S, class E>
[[gnu::always_inline]] inline void store_lanes(const V& sums, const View<S, 2>& c, Index row,
                                               Index col, Index lanes, const E& epilogue) noexcept {
  constexpr Index W = static_cast<Index>(V::size);
  const auto v = epilogue(sums, row, col, lanes);  // of another type, maybe
  S* to = c.pointer(row, col);
  if (c.stride(1) == 1) {
    if (lanes == W) return store_as<A>(to, v);
    return store_as_partial<A>(to, v, lanes);
  }
  alignas(64) typename std::remove_const_t<decltype(v)>::value_type out[W];
  v.store_aligned(out);
  for (Index i = 0; i < lanes; ++i) to[i * c.stride(1)] = static_cast<S>(out[i]);
}

/// The sums of one tile: the `rows` x `cols` elements of C from (row, col) on.
template <class K, class S, class E>
void store_tile(const typename K::Sum* sums, const View<S, 2>& c, Index row, Index col, Index rows,
                Index cols, const E& epilogue) noexcept {
  using A = typename K::Arch;
  constexpr Index W = kWidth<typename K::Sum, A>;
  for (Index r = 0; r < rows; ++r)
    for (Index n = 0; n < cols; n += W)
      store_lanes<A>(load<A>(sums + r * K::kCols + n), c, row + r, col + n, std::min(W, cols - n),
                     epilogue);
}

/// The product of a range of row tiles and of panels over the whole depth: what a task computes.
template <class K, class S, class B, class E>
struct BlockProduct {
  using Sum = typename K::Sum;

  const RowTiles<K>& a;
  const B& b;
  const View<S, 2>& c;
  const E& epilogue;
  Index row0;   ///< row of C that the first row of `a` belongs to
  Index depth;  ///< elements
  Index pass;   ///< elements of the depth that one pass over C takes

  static constexpr Index kTileSize = K::kRows * K::kCols;

  void operator()(Index tile0, Index tile1, Index panel0, Index panel1, Arena& arena) const {
    [[maybe_unused]] const typename K::Session session;
    const Index tiles = tile1 - tile0, panels = panel1 - panel0;
    // Partial sums of the tiles that C itself cannot hold between two passes.
    Sum* sums = arena.take<Sum>(pass == depth ? kTileSize : tiles * panels * kTileSize);
    Index k = 0;
    do {  // once for an empty depth
      Arena::Frame frame(arena);
      const Index steps = std::min(pass, depth - k);
      const PackedPanels<K> block = b.block(panel0, panels, k, steps, arena);
      for (Index j = 0; j < panels; ++j) {
        PrefetchAhead ahead{next(panel0 + j, k, panel0, panel1, block.data),
                            ceil_div(B::kFetched, tiles)};
        for (Index i = 0; i < tiles; ++i, ahead.next += steps * ahead.step)
          tile(tile0 + i, panel0 + j, k, steps, block.data + j * block.stride,
               sums + (pass == depth ? 0 : (j * tiles + i) * kTileSize), ahead);
      }
      k += pass;
    } while (k < depth);
  }

 private:
  /// What comes after panel j in the order of the loops: every tile fetches its share of it.
  const char* next(Index j, Index k, Index panel0, Index panel1,
                   const typename K::Element* block) const {
    const auto* at = block;
    if constexpr (B::kFetched != 0)
      at = j + 1 < panel1     ? b.fetched(j + 1, k)
           : k + pass < depth ? b.fetched(panel0, k + pass)
                              : b.fetched(panel1, 0);
    return reinterpret_cast<const char*>(at);
  }

  void tile(Index i, Index j, Index k, Index steps, const typename K::Element* panel, Sum* sums,
            PrefetchAhead prefetch) const {
    const Index rows = a.count(i), row = row0 + i * K::kRows;
    const Index col = j * K::kCols, cols = std::min(K::kCols, c.extent(1) - col);
    if constexpr (std::is_same_v<S, Sum> && std::is_same_v<E, NoEpilogue>) {
      if (rows == K::touched(rows) && cols == K::kCols && c.stride(1) == 1)
        return K::multiply(rows, cols, steps, a.at(i, k), a.ld, panel, c.pointer(row, col),
                           c.stride(0), k != 0, prefetch);
    }
    K::multiply(rows, cols, steps, a.at(i, k), a.ld, panel, sums, K::kCols, k != 0, prefetch);
    if (k + steps == depth) store_tile<K>(sums, c, row, col, rows, cols, epilogue);
  }
};

/// Blocks of a chunk's tiles and of all panels that make up one task.
struct TaskCut {
  Index tiles, panels;

  template <class K>
  static TaskCut of(const RowTiles<K>& a, Index depth, Index pass, bool may_cut_rows) {
    const Index element = static_cast<Index>(sizeof(typename K::Element));
    const Index panels =
        std::max<Index>(1, kBlockBytes / (std::max<Index>(pass, 1) * K::kCols * element));
    const Index tile_work = std::max<Index>(depth, 1) * K::kRows * panels * K::kCols;
    const Index tiles = std::max(ceil_div(kTaskWork, tile_work), ceil_div(kChunkRows, K::kRows));
    return {may_cut_rows ? tiles : a.tiles(), panels};
  }
};

/// Elements of the depth that one pass takes, for passes of about equal length.
constexpr Index pass_of(Index depth, Index longest) noexcept {
  const Index passes = ceil_div(depth, longest);
  return passes <= 1 ? depth : round_up(ceil_div(depth, passes), 32);
}

/// Rows of a chunk.
template <class K>
Index chunk_of(Index depth) noexcept {
  const Index row_bytes = std::max<Index>(depth, 1) * K::kLefts * Index{sizeof(typename K::Left)};
  return std::max(kChunkRows, kChunkBytes / row_bytes);
}

/// epilogue(A B) for one chunk of rows, which starts at row0 of C, and the panels [panel0, panel1)
/// of B.
template <class K, class SA, class S, class B, class E>
void multiply_chunk(const View<const SA, 2>& a, const B& b, Index panel0, Index panel1,
                    const View<S, 2>& c, Index row0, const E& epilogue, const Context& ctx) {
  Arena::Frame frame(ctx.arena());
  const Index depth = K::depth(a.extent(1)), pass = pass_of(depth, b.pass());
  const RowTiles<K> rows = row_tiles<K>(a, ctx);
  const BlockProduct<K, S, B, E> product{rows, b, c, epilogue, row0, depth, pass};
  const TaskCut cut = TaskCut::of(rows, depth, pass, B::kMayCutRows);
  const Index row_blocks = ceil_div(rows.tiles(), cut.tiles);
  const Index tasks = row_blocks * ceil_div(panel1 - panel0, cut.panels);
  ctx.parallel(tasks, [&](Index task, Arena& arena) {
    const Index tile = task % row_blocks * cut.tiles;
    const Index panel = panel0 + task / row_blocks * cut.panels;
    product(tile, std::min(tile + cut.tiles, rows.tiles()), panel,
            std::min(panel + cut.panels, panel1), arena);
  });
}

/// Rows [row0, ...) of C and the panels [panel0, panel1), chunk after chunk.
template <class K, class SA, class S, class B, class E>
void multiply_rows(const View<const SA, 2>& a, const B& b, Index panel0, Index panel1,
                   const View<S, 2>& c, Index row0, const E& epilogue, const Context& ctx) {
  const Index chunk = chunk_of<K>(K::depth(a.extent(1))), rows = a.extent(0);
  for (Index row = row0; row < rows; row += chunk)
    multiply_chunk<K>(a.slice(0, row, std::min(chunk, rows - row)), b, panel0, panel1, c, row,
                      epilogue, ctx);
}

/// C = epilogue(A B), B packed beforehand; the shapes fit and C is not empty.
template <class K, class SA, class S, class E>
void multiply_packed(const View<const SA, 2>& a, const typename K::Element* b, const View<S, 2>& c,
                     const E& epilogue, const Context& ctx) {
  multiply_rows<K>(a, ConstantPanels<K>{b, K::depth(a.extent(1))}, 0,
                   ceil_div(c.extent(1), K::kCols), c, 0, epilogue, ctx);
}

/// Packed B that the chunks of a product with a plain B share: a range of columns at a time.
inline constexpr Index kSharedBytes = 16 << 20;

/// C = epilogue(A B), B as the caller has it: the first chunk packs B as it goes.
template <class K, class SA, class SB, class S, class E>
void multiply_plain(const View<const SA, 2>& a, const View<const SB, 2>& b, const View<S, 2>& c,
                    const E& epilogue, const Context& ctx) {
  using Element = typename K::Element;
  const Index panels = ceil_div(c.extent(1), K::kCols), depth = K::depth(a.extent(1));
  const Index chunk = chunk_of<K>(depth);
  if (a.extent(0) <= chunk)
    return multiply_chunk<K>(a, PackedOnUse<K, SB>{b}, 0, panels, c, 0, epilogue, ctx);
  const Index panel_size = std::max<Index>(depth, 1) * K::kCols;
  const Index range = std::max<Index>(1, kSharedBytes / (panel_size * Index{sizeof(Element)}));
  for (Index first = 0; first < panels; first += range) {
    Arena::Frame frame(ctx.arena());
    const Index end = std::min(first + range, panels);
    auto* packed = ctx.arena().take<Element>((end - first) * panel_size);
    multiply_chunk<K>(a.slice(0, 0, chunk), PackedOnUse<K, SB>{b, packed, first}, first, end, c, 0,
                      epilogue, ctx);
    multiply_rows<K>(a, ConstantPanels<K>{packed, depth, first}, first, end, c, chunk, epilogue,
                     ctx);
  }
}

}  // namespace weft::detail
