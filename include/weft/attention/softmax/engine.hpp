#pragma once

#include <weft/attention/softmax/problem.hpp>
#include <weft/attention/softmax/row_pass.hpp>
#include <weft/attention/softmax/score_ahead.hpp>
#include <weft/attention/softmax/tiles.hpp>
#include <weft/attention/softmax/weigh.hpp>
#include <weft/core/executor.hpp>

/// Tiled online softmax attention (FlashAttention, arXiv:2205.14135), the engine of the softmax and
/// sparse families.
///
///   s_ij = score(scale q_i . k_j)
///   p_ij = exp(s_ij - m_i) over visible j
///   out_i = sum_j p_ij v_j / l_i
///
/// Per 16 logits: 2 D multiply-adds, D for s and D for out, and about 17 other instructions, so the
/// floor is D / (D + 9) of the FMA peak on a machine with two vector units (0.88 at D = 64).
///
/// Loop nest: a task is one KV head and a block of query rows (all heads of the group). It walks
/// the key tiles; each is packed once and then meets every query tile of the task:
///   S = Q K^T      (24 x 256 logits, L1)          Q in place x packed K panels
///   row pass       score, mask, running max, exp
///   acc += P V     (task rows x E, L2)            P in place x V row-major
/// A normalizer with two passes has the task walk its key tiles twice: first for the statistic of
/// each row, without V, and then as above. A task of few enough rows to keep its logits (L2) spares
/// the second pass their product and score; one whose statistic names the keys that matter, all of
/// it.
/// Few query rows (decode) go by direct.hpp instead, which packs nothing and splits the keys.
namespace weft::detail {

/// Query tiles that share one packing of K and V: the packing costs about 1 % of their work, and
/// the task's Q, accumulators, K and V tiles stay within 1 MiB up to D = E = 128.
inline constexpr Index kTilesPerTask = 16;

/// Logits that a task of two passes keeps, in bytes.
inline constexpr Index kKeptLogits = 1 << 20;

/// The query rows of a task: `count` queries from `first` of `heads` query heads from `head`.
/// Row r of the task is query first + r % count of head head + r / count.
struct QueryBlock {
  Index batch, kv_head, head, heads, first, count;

  Index rows() const noexcept { return heads * count; }
};

template <class T, class A, class M, class S, class Z, class P>
class TiledAttention {
 public:
  TiledAttention(const Problem<T>& problem, const M& mask, const S& score, const Z& normalizer)
      : p_(problem), policies_{mask, score}, normalizer_(normalizer) {}

  /// Attends the rows of one block to all keys and writes out and LSE.
  void run(const QueryBlock& block, Arena& arena) const {
    const typename Product::Session session(product_);
    Work w = prepare(block, arena);
    if constexpr (SelectingNormalizer<Z>) {
      walk_keys(w, Pass::collect);
      add_kept_values(w);
    } else {
      for_each_pass<Z>(w.keeps_logits, [&](Pass pass) { walk_keys(w, pass); });
    }
    for (Index t = 0; t < w.tiles; ++t) begin_sums(w, t);
    for (Index r = 0; r < block.rows(); ++r) finish(w, r);
  }

  /// Query tiles of one task with so many keys.
  static Index tiles_per_task(Index keys) noexcept {
    if (!kMayKeepLogits) return kTilesPerTask;
    const Index fitting = kKeptLogits / (std::max<Index>(1, ceil_div(keys, kKeyTile)) * kTileBytes);
    return fitting > 0 ? std::min(fitting, kTilesPerTask) : kTilesPerTask;
  }

 private:
  using Policy = Policies<M, S, Z>;
  using Product = typename P::template Tiles<T, A>;
  using Operand = typename Product::Operand;
  static constexpr Index kRows = Product::kRows;
  static constexpr bool kMayKeepLogits = TwoPassNormalizer<Z> && !SelectingNormalizer<Z>;
  static constexpr Index kTileSize = kRows * kTileLd<T, A>;  ///< of logits
  static constexpr Index kTileBytes = kTileSize * Index{sizeof(T)};

  struct Work {
    QueryBlock block;
    Index queries, keys;  ///< of this batch element
    Index height, tiles;  ///< of the query tiles
    Index value_ld;
    Operand* q;  ///< scaled queries, tile after tile
    T* m;
    T* l;
    T* acc;
    T* logits;  ///< of one tile, or of all [key tiles][query tiles]
    T* key_buffer;
    Operand* key_panels;
    T* value_buffer;
    Operand* value_panels;
    Operand* weights;  ///< of one tile, where they do not take the place of the logits
    RowsOf<T> values;
    bool* begun;  ///< per query tile: whether `acc` holds sums yet
    T* statistics;
    Index statistic_size;  ///< per row
    bool keys_ready, values_checked, values_finite;
    bool keeps_logits;
    Pass pass;
  };

  Index tile_rows(const Work& w, Index t) const noexcept {
    return std::min(w.height, w.block.rows() - t * w.height);
  }

  Work prepare(const QueryBlock& block, Arena& arena) const {
    Work w{};
    w.block = block;
    w.queries = p_.queries_of(block.batch);
    w.keys = p_.keys_of(block.batch);
    w.height = Product::tile_height(block.rows());
    w.tiles = ceil_div(block.rows(), w.height);
    w.value_ld = Product::value_ld(p_.kv.value_dim);
    const Index rows = w.tiles * kRows;
    const Index keys = std::min(w.keys, kKeyTile);
    const Index key_ld = round_up(p_.kv.key_dim, kWidth<T, A>);
    w.q = arena.take<Operand>(w.tiles * Product::query_tile_size(p_.kv.key_dim));
    w.m = arena.take<T>(rows);
    w.l = arena.take<T>(rows);
    w.acc = arena.take<T>(rows * w.value_ld);
    w.begun = arena.take<bool>(w.tiles);
    const Index all_tiles = w.tiles * ceil_div(w.keys, kKeyTile);
    w.keeps_logits = kMayKeepLogits && all_tiles * kTileBytes <= kKeptLogits;
    w.logits = arena.take<T>((w.keeps_logits ? std::max<Index>(all_tiles, 1) : 1) * kTileSize);
    w.key_buffer = arena.take<T>(std::max<Index>(keys, 1) * key_ld);
    w.key_panels = arena.take<Operand>(Product::key_panels_size(keys, p_.kv.key_dim));
    w.value_buffer = arena.take<T>(keys * round_up(p_.kv.value_dim, kWidth<T, A>));
    w.value_panels = arena.take<Operand>(Product::value_panels_size(keys, p_.kv.value_dim));
    w.weights = arena.take<Operand>(Product::weights_size());
    if constexpr (TwoPassNormalizer<Z>) {
      w.statistic_size = normalizer_.statistic().size();
      w.statistics = arena.take<T>(rows * w.statistic_size);
    }
    std::fill_n(w.m, rows, kHidden<T>);
    std::fill_n(w.l, rows, T(0));
    std::fill_n(w.begun, w.tiles, false);
    load_queries(w, key_ld);
    return w;
  }

  void walk_keys(Work& w, Pass pass) const {
    w.pass = pass;
    if constexpr (!OnlineNormalizer<Z>)
      for (Index r = 0; r < w.block.rows(); ++r) begin_row(normalizer_, pass, state(w, r));
    for (Index j0 = 0; j0 < w.keys; j0 += kKeyTile)
      key_tile(w, j0, std::min(kKeyTile, w.keys - j0));
  }

  void add_kept_values(const Work& w) const {
    for (Index t = 0; t < w.tiles; ++t) begin_sums(w, t);
    const auto value = [&](Index key) {
      return p_.kv
          .value_rows(p_.kv.source, w.block.batch, w.block.kv_head, key, 1, false, w.value_buffer)
          .at;
    };
    for (Index r = 0; r < w.block.rows(); ++r)
      take_kept<T, A>(policies_, normalizer_, row_at(w, r), state(w, r),
                      round_up(p_.kv.value_dim, kWidth<T, A>), value);
  }

  /// Loads, converts and scales the rows of every query tile. Rows that fill up the last register
  /// block of a tile are zero.
  void load_queries(Work& w, Index ld) const {
    const T scale = static_cast<T>(p_.scale) * Policy::template query_factor<T>;
    const Index dim = p_.kv.key_dim;
    T* buffer = w.key_buffer;  // free until the first key tile
    for (Index t = 0; t < w.tiles; ++t) {
      Operand* tile = query_tile_of(w, t);
      const Index rows = tile_rows(w, t), padded = Product::padded_rows(rows);
      for (Index r = 0; r < rows; ++r)
        Product::put_query(query_row(row_at(w, t * w.height + r), buffer, ld), scale, r, dim, tile);
      if (rows < padded) std::fill_n(buffer, ld, T(0));
      for (Index r = rows; r < padded; ++r) Product::put_query(buffer, scale, r, dim, tile);
    }
  }

  /// The row in place, or converted into `buffer`.
  const T* query_row(const Row& row, T* buffer, Index ld) const {
    const std::byte* at = p_.query(row.batch, row.head, row.query);
    if (p_.q.in_place) return reinterpret_cast<const T*>(at);
    p_.q.load(at, buffer, p_.kv.key_dim, ld);
    return buffer;
  }

  Operand* query_tile_of(const Work& w, Index t) const noexcept {
    return w.q + t * Product::query_tile_size(p_.kv.key_dim);
  }

  Row row_at(const Work& w, Index r) const noexcept {
    const Index h = w.block.heads == 1 ? 0 : r / w.block.count;  // spare a head alone the division
    return {w.block.batch, w.block.head + h, w.block.first + r - h * w.block.count, w.queries,
            w.keys};
  }

  /// All query tiles against the keys [j0, j0 + n).
  void key_tile(Work& w, Index j0, Index n) const {
    w.keys_ready = w.values_checked = false;
    for (Index t = 0; t < w.tiles; ++t) {
      const Range queries = queries_of(w, t);
      const Coverage coverage = classify(w, queries, j0, n);
      if (coverage == Coverage::empty) continue;
      load_keys_and_values(w, j0, n);
      Range columns{0, n - 1};
      if (coverage == Coverage::partial) columns = visible_columns(w, queries, j0, n);
      if (columns.first > columns.last) continue;
      query_tile(w, t, coverage == Coverage::partial, j0, columns.first, columns.last + 1);
    }
  }

  /// The range of queries of a tile; a tile that spans several heads has them all.
  Range queries_of(const Work& w, Index t) const noexcept {
    const Index first = t * w.height, last = first + tile_rows(w, t) - 1;
    const Index count = w.block.count, base = w.block.first;
    if (first / count != last / count) return {base, base + count - 1};
    return {base + first % count, base + last % count};
  }

  Coverage classify(const Work& w, const Range& queries, Index j0, Index n) const noexcept {
    return policies_.mask.classify(
        Tile{w.block.batch, queries, {j0, j0 + n - 1}, w.queries, w.keys});
  }

  /// Drops the empty panels at both ends of a partial tile.
  Range visible_columns(const Work& w, const Range& queries, Index j0, Index n) const noexcept {
    constexpr Index step = kTileCols<T, A>;
    const auto empty = [&](Index c) {
      return classify(w, queries, j0 + c, std::min(step, n - c)) == Coverage::empty;
    };
    Index first = 0, last = (n - 1) / step * step;
    while (first < n && empty(first)) first += step;
    while (last > first && empty(last)) last -= step;
    return {first, std::min(n, last + step) - 1};
  }

  void load_keys_and_values(Work& w, Index j0, Index n) const {
    if (w.keys_ready) return;
    const auto& kv = p_.kv;
    const Index b = w.block.batch, h = w.block.kv_head;
    if (w.pass != Pass::weigh_finished) {
      const RowsOf<T> keys = kv.key_rows(kv.source, b, h, j0, n, w.key_buffer);
      Product::pack_keys(keys, n, kv.key_dim, w.key_panels);
    }
    w.keys_ready = true;
    if (collecting(w)) return;
    w.values = kv.value_rows(kv.source, b, h, j0, n, true, w.value_buffer);
    Product::pack_values(w.values, n, kv.value_dim, w.value_panels);
  }

  void query_tile(Work& w, Index t, bool masked, Index j0, Index begin, Index end) const {
    const Index first = t * w.height, rows = tile_rows(w, t);
    const Index keys = std::min(kKeyTile, w.keys - j0);
    T* logits = logits_of(w, t, j0);
    Operand* weights = Product::weights_of(logits, w.weights);
    if (w.pass != Pass::weigh_finished) multiply_keys(w, t, j0, begin, end, logits);
    const auto& score =
        score_of_tile(policies_.score, row_at(w, first), rows, j0 + begin, j0 + end);
    weigh_rows<T, A>(
        Policies<M, std::remove_cvref_t<decltype(score)>, Z>{policies_.mask, score}, normalizer_,
        rows, masked, w.pass, j0, begin, end, logits, w.value_ld,
        [&](Index r) { return row_at(w, first + r); }, [&](Index r) { return state(w, first + r); },
        [&](Index r) { return Product::weight_row(weights, r); });
    if (collecting(w)) return;
    T* acc = w.acc + first * w.value_ld;
    const bool hides = masked || kCanHide<S>;
    if (hides && !values_finite(w, j0)) {
      begin_sums(w, t);
      return add_visible_values(w, first, rows, masked, j0, begin, end, weights);
    }
    product_.add_values(weights, rows, begin, end, w.values, w.value_panels, keys, w.value_ld, acc,
                        w.begun[t]);
    w.begun[t] = true;
  }

  /// Clears the sums of a query tile that no product has written yet.
  void begin_sums(const Work& w, Index t) const noexcept {
    if (w.begun[t]) return;
    std::fill_n(w.acc + t * w.height * w.value_ld, tile_rows(w, t) * w.value_ld, T(0));
    w.begun[t] = true;
  }

  /// S = Q K^T of a tile; meanwhile the numbers of the score for the next one are fetched.
  void multiply_keys(const Work& w, Index t, Index j0, Index begin, Index end, T* logits) const {
    const auto multiply = [&](auto prefetch) {
      product_.logits(query_tile_of(w, t), tile_rows(w, t), p_.kv.key_dim, w.key_panels,
                      std::min(kKeyTile, w.keys - j0), begin, end, logits, prefetch);
    };
    if constexpr (ReadingScore<S>) {
      const bool more = t + 1 < w.tiles;
      const Index next = more ? t + 1 : 0;
      const Index from = j0 + (more ? begin : kKeyTile);
      const Index to = std::min(w.keys, more ? j0 + end : from + kKeyTile);
      ScoreAhead<kRows> ahead;
      for (Index r = from < to ? tile_rows(w, next) : 0; r-- > 0;)
        ahead.want(policies_.score.reads(row_at(w, next * w.height + r), from, to));
      multiply(PrefetchScore<kRows>{&ahead});
    } else {
      multiply(NoPrefetch{});
    }
  }

  T* logits_of(const Work& w, Index t, Index j0) const noexcept {
    return w.keeps_logits ? w.logits + (j0 / kKeyTile * w.tiles + t) * kTileSize : w.logits;
  }

  static bool collecting(const Work& w) noexcept {
    return TwoPassNormalizer<Z> && w.pass == Pass::collect;
  }

  RowState<T> state(const Work& w, Index r) const noexcept {
    RowState<T> row{w.m + r, w.l + r, w.acc + r * w.value_ld};
    if constexpr (TwoPassNormalizer<Z>) row.statistic = w.statistics + r * w.statistic_size;
    return row;
  }

  /// Whether 0 * v = 0 holds for the values of the tile; asked once per key tile.
  bool values_finite(Work& w, Index j0) const noexcept {
    if (!w.values_checked) {
      const Index n = std::min(kKeyTile, w.keys - j0);
      w.values_finite = rows_finite<T, A>(w.values, n, round_up(p_.kv.value_dim, kWidth<T, A>));
      w.values_checked = true;
    }
    return w.values_finite;
  }

  /// acc += P V without touching the values of hidden keys: for tiles with NaN or Inf in V.
  void add_visible_values(Work& w, Index first, Index rows, bool masked, Index j0, Index begin,
                          Index end, Operand* all_weights) const noexcept {
    for (Index r = 0; r < rows; ++r) {
      const Row row = row_at(w, first + r);
      const auto* weights = Product::weight_row(all_weights, r);
      T* acc = w.acc + (first + r) * w.value_ld;
      for (Index c = begin; c < end; ++c) {
        if (masked && !policies_.mask.visible(row, j0 + c)) continue;
        const T weight = static_cast<T>(weights[c]);
        if (kCanHide<S> && weight == T(0)) continue;
        add_scaled_row<T, A>(weight, w.values.at + c * w.values.step,
                             round_up(p_.kv.value_dim, kWidth<T, A>), acc);
      }
    }
  }

  void finish(const Work& w, Index r) const {
    const Row row = row_at(w, r);
    finish_row(p_, normalizer_, row, state(w, r));
  }

  const Problem<T>& p_;
  Policy policies_;
  const Z& normalizer_;
  Product product_{};
};

}  // namespace weft::detail
