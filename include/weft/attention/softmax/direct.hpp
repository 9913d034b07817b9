#pragma once

#include <weft/attention/softmax/dot_keys.hpp>
#include <weft/attention/softmax/problem.hpp>
#include <weft/attention/softmax/row_pass.hpp>
#include <weft/attention/softmax/tiles.hpp>
#include <weft/attention/softmax/weigh.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/tile_product.hpp>

/// Attention of few query rows: decode, where reading K and V once is the whole cost.
///
/// All query heads of a group meet each block of keys while it is in L1. Nothing is packed: logits
/// are dot products of rows (W keys side by side, one reduction for all of them), values are added
/// row by row through the register tile. Where the heads of a token lie side by side, as in pages
/// and ragged batches, KV heads take turns at each block, so that memory is read in its order: head
/// after head costs twice the time. The keys are cut into splits of fixed length, so that one
/// sequence keeps many threads busy; the partial results are merged in order, and no thread count
/// changes them. A source with products of its own (KvTileSource) is asked for them in place of
/// rows, larger blocks at a time. A normalizer with two passes reads the keys twice and does
/// without splits: the statistic of the whole row comes before its first weight.
namespace weft::detail {

/// Query rows up to which this beats packing K.
inline constexpr Index kDirectRows = 8;

/// Bytes of the keys and values of one block, which stays in L1 even when it had to be converted;
/// how many keys ahead memory is asked for them, the heads of a task together; bytes of K and V up
/// to which it is not asked: they are near, and asking costs more than it saves; and keys of one
/// split.
inline constexpr Index kDirectBlockBytes = 16 << 10;
inline constexpr Index kDirectAhead = 64;
inline constexpr Index kNearBytes = 512 << 10;
inline constexpr Index kSplit = 1024;

/// The query rows of one KV head of one batch element: row r is query r % queries of head
/// kv_head * group + r / queries.
struct DirectRows {
  Index batch, kv_head, group, queries, keys;

  Index rows() const noexcept { return group * queries; }
  Row row(Index r) const noexcept {
    return {batch, kv_head * group + r / queries, r % queries, queries, keys};
  }
};

/// Elements of the partial result of one split: m, l and acc of every row.
constexpr Index partial_size(Index rows, Index value_ld) noexcept { return rows * (2 + value_ld); }

template <class T>
RowState<T> partial_row(T* partial, Index rows, Index r, Index value_ld) noexcept {
  return {partial + r, partial + rows + r, partial + 2 * rows + r * value_ld};
}

template <class T, class A, class M, class S, class Z>
class DirectAttention {
 public:
  DirectAttention(const Problem<T>& problem, const M& mask, const S& score, const Z& normalizer)
      : p_(problem),
        policies_{mask, score},
        normalizer_(normalizer),
        key_ld_(round_up(problem.kv.key_dim, kWidth<T, A>)),
        value_ld_(round_up(problem.kv.value_dim, kWidth<T, A>)),
        block_keys_(std::clamp(kDirectBlockBytes / key_bytes() / W * W, kLeastKeys, kKeyTile)) {}

  /// Attends the rows of `heads` KV heads, from that of `first` on, to keys [begin, end) and leaves
  /// m, l and acc of each in its partial result, `step` elements apart. The heads take turns, block
  /// by block.
  void run(const DirectRows& first, Index heads, Index begin, Index end, T* partials, Index step,
           Arena& arena) const {
    Work* work = arena.take<Work>(heads);
    const Shared shared = share(first, heads, arena);
    for (Index h = 0; h < heads; ++h) {
      DirectRows rows = first;
      rows.kv_head += h;
      work[h] = prepare(rows, shared, partials + h * step, arena);
    }
    if constexpr (SelectingNormalizer<Z>) {
      walk_keys(work, heads, Pass::collect, begin, end);
      for (Index h = 0; h < heads; ++h) add_kept_values(work[h]);
    } else {
      for_each_pass<Z>(false, [&](Pass pass) { walk_keys(work, heads, pass, begin, end); });
    }
  }

 private:
  using Policy = Policies<M, S, Z>;
  static constexpr Index W = kWidth<T, A>;
  static constexpr Index kLd = kTileLd<T, A>;  // as in the tiled engine: the same register tiles
  static constexpr Index kLeastKeys = 16;      ///< of a block

  /// What the heads of a task use in turn.
  struct Shared {
    T* logits;
    T* key_buffer;
    T* value_buffer;
    Index ahead;  ///< how many keys ahead memory is asked for them, 0: it is not
  };

  struct Work : Shared {
    DirectRows rows;
    T* q;
    T* partial;
    T* statistics;
    Index statistic_size;  ///< per row
    Pass pass;
    T* scratch;  ///< of the products of a source
  };

  Shared share(const DirectRows& rows, Index heads, Arena& arena) const {
    const Index count = rows.rows();
    const bool far = rows.keys * p_.kv.kv_heads * key_bytes() > kNearBytes;
    Shared shared{arena.take<T>(count * kLd), arena.take<T>(block_keys_ * key_ld_),
                  arena.take<T>(block_keys_ * value_ld_),
                  far ? std::max(block_keys_, kDirectAhead / heads) : 0};
    std::fill_n(shared.logits, count * kLd, T(0));
    return shared;
  }

  Work prepare(const DirectRows& rows, const Shared& shared, T* partial, Arena& arena) const {
    const Index count = rows.rows();
    Work w{shared, rows, arena.take<T>(count * key_ld_), partial, nullptr, 0, Pass::weigh, nullptr};
    std::fill_n(partial, partial_size(count, value_ld_), T(0));
    for (Index r = 0; r < count; ++r) {
      *partial_row(partial, count, r, value_ld_).m = kHidden<T>;
      load_query(rows.row(r), w.q + r * key_ld_);
    }
    if constexpr (TwoPassNormalizer<Z>) {
      w.statistic_size = normalizer_.statistic().size();
      w.statistics = arena.take<T>(count * w.statistic_size);
    }
    if (p_.kv.products != nullptr) {
      w.scratch = arena.take<T>(p_.kv.products->scratch_size(p_.kv.source, count));
      p_.kv.products->begin(p_.kv.source, w.q, key_ld_, count, w.scratch);
    }
    return w;
  }

  /// Of one key and its value; they may have no channels.
  Index key_bytes() const noexcept {
    return std::max<Index>(1, (key_ld_ + value_ld_) * static_cast<Index>(sizeof(T)));
  }

  static bool collecting(const Work& w) noexcept {
    return TwoPassNormalizer<Z> && w.pass == Pass::collect;
  }

  RowState<T> state(const Work& w, Index r) const noexcept {
    RowState<T> row = partial_row(w.partial, w.rows.rows(), r, value_ld_);
    if constexpr (TwoPassNormalizer<Z>) row.statistic = w.statistics + r * w.statistic_size;
    return row;
  }

  void walk_keys(Work* work, Index heads, Pass pass, Index begin, Index end) const noexcept {
    for (Work* w = work; w != work + heads; ++w) {
      w->pass = pass;
      if constexpr (!OnlineNormalizer<Z>)
        for (Index r = 0; r < w->rows.rows(); ++r) begin_row(normalizer_, pass, state(*w, r));
    }
    const Index step = p_.kv.products != nullptr ? kKvTile : block_keys_;
    for (Index j0 = begin; j0 < end; j0 += step)
      for (Index h = 0; h < heads; ++h) block(work[h], j0, std::min(step, end - j0), end);
  }

  void add_kept_values(const Work& w) const noexcept {
    const auto value = [&](Index key) {
      return p_.kv
          .value_rows(p_.kv.source, w.rows.batch, w.rows.kv_head, key, 1, false, w.value_buffer)
          .at;
    };
    for (Index r = 0; r < w.rows.rows(); ++r)
      take_kept<T, A>(policies_, normalizer_, w.rows.row(r), state(w, r), value_ld_, value);
  }

  void load_query(const Row& row, T* to) const noexcept {
    const T scale = static_cast<T>(p_.scale) * Policy::template query_factor<T>;
    p_.q.load(p_.query(row.batch, row.head, row.query), to, p_.kv.key_dim, key_ld_);
    scale_row<T, A>(to, key_ld_, scale);
  }

  void block(const Work& w, Index j0, Index n, Index end) const noexcept {
    const DirectRows& rows = w.rows;
    const Coverage coverage = policies_.mask.classify(
        Tile{rows.batch, {0, rows.queries - 1}, {j0, j0 + n - 1}, rows.queries, rows.keys});
    if (coverage == Coverage::empty) return;
    const bool masked = coverage == Coverage::partial;
    if (p_.kv.products != nullptr) return coded_block(w, masked, j0, n);
    const auto& kv = p_.kv;
    const RowsOf<T> keys = kv.key_rows(kv.source, rows.batch, rows.kv_head, j0, n, w.key_buffer);
    const RowsOf<T> values = collecting(w) ? RowsOf<T>{}
                                           : kv.value_rows(kv.source, rows.batch, rows.kv_head, j0,
                                                           n, false, w.value_buffer);
    const Index count = rows.rows();
    for (Index c = 0; c < n; c += W)
      for (Index r = 0; r < count; ++r) {
        if (w.ahead != 0) prefetch_part(rows, j0 + w.ahead + c, end, r, false);
        store<A>(w.logits + r * kLd + c,
                 dot_keys<T, A>(w.q + r * key_ld_, kv.key_dim, keys, c, n - c));
      }
    weigh(w, masked, j0, n);
    if (collecting(w)) return;
    const bool hides = masked || kCanHide<S>;
    if (hides && !rows_finite<T, A>(values, n, value_ld_))
      add_visible_values(w, masked, j0, n, values);
    else
      add_values(w, j0, n, end, values);
  }

  /// The same by the products of the source.
  void coded_block(const Work& w, bool masked, Index j0, Index n) const noexcept {
    const auto& kv = p_.kv;
    const Index count = w.rows.rows();
    const KvTile tile{w.rows.batch, w.rows.kv_head, j0, n, count};
    kv.products->logits(kv.source, tile, w.q, key_ld_, w.scratch, w.logits, kLd);
    weigh(w, masked, j0, n);
    if (collecting(w)) return;
    kv.products->add_values(kv.source, tile, w.logits, kLd, w.scratch,
                            partial_row(w.partial, count, 0, value_ld_).acc, value_ld_);
  }

  /// The row pass over the logits of a block.
  void weigh(const Work& w, bool masked, Index j0, Index n) const noexcept {
    weigh_rows<T, A>(
        policies_, normalizer_, w.rows.rows(), masked, w.pass, j0, 0, n, w.logits, value_ld_,
        [&](Index r) { return w.rows.row(r); }, [&](Index r) { return state(w, r); },
        [&](Index r) { return w.logits + r * kLd; });
  }

  void add_values(const Work& w, Index j0, Index n, Index end,
                  const RowsOf<T>& values) const noexcept {
    const Index count = w.rows.rows(), step = w.ahead != 0 ? W : n;
    for (Index c = 0; c < n; c += step) {
      for (Index r = 0; w.ahead != 0 && r < count; ++r)
        prefetch_part(w.rows, j0 + w.ahead + c, end, r, true);
      Tiles<T, A>{}.add_values(w.logits, count, c, std::min(n, c + step), values, nullptr, n,
                               value_ld_, partial_row(w.partial, count, 0, value_ld_).acc);
    }
  }

  /// Asks for part `r` of the W keys or values from `first` on. Rows are read side by side, which
  /// hides their order from hardware prefetchers; and few at a time, because what exceeds the
  /// queues of the caches is waited for.
  void prefetch_part(const DirectRows& rows, Index first, Index end, Index r,
                     bool values) const noexcept {
    const Index share = ceil_div(W, rows.rows()), from = first + r * share;
    const Index stop = std::min({end, first + W, from + share});
    if (from < stop)
      p_.kv.prefetch(p_.kv.source, rows.batch, rows.kv_head, from, stop - from, values);
  }

  void add_visible_values(const Work& w, bool masked, Index j0, Index n,
                          const RowsOf<T>& values) const noexcept {
    const Index count = w.rows.rows();
    for (Index r = 0; r < count; ++r) {
      const T* weights = w.logits + r * kLd;
      for (Index c = 0; c < n; ++c) {
        if (masked && !policies_.mask.visible(w.rows.row(r), j0 + c)) continue;
        if (kCanHide<S> && weights[c] == T(0)) continue;
        add_scaled_row<T, A>(weights[c], values.at + c * values.step, value_ld_,
                             partial_row(w.partial, count, r, value_ld_).acc);
      }
    }
  }

  const Problem<T>& p_;
  Policy policies_;
  const Z& normalizer_;
  Index key_ld_, value_ld_, block_keys_;
};

}  // namespace weft::detail
