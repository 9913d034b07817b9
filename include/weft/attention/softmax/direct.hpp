#pragma once

#include <weft/attention/softmax/problem.hpp>
#include <weft/attention/softmax/row_pass.hpp>
#include <weft/attention/softmax/tiles.hpp>
#include <weft/attention/softmax/weigh.hpp>
#include <weft/core/executor.hpp>

#include <algorithm>
#include <span>

/// Attention of few query rows: decode, where reading K and V once is the whole cost.
///
/// All query heads of a group meet each token while it is at hand (row_products.hpp, or the
/// products of a KvTileSource). Where the heads of a token lie side by side, as in pages and ragged
/// batches, KV heads take turns, so that memory is read in its order. The keys are cut
/// into splits of fixed length, so that one sequence keeps many threads busy; the partial results
/// are merged in order, and no thread count changes them. A normalizer with two passes reads the
/// keys twice and does without splits: the statistic of the whole row comes before its first
/// weight.
namespace weft::detail {

/// Query rows up to which this beats packing K.
inline constexpr Index kDirectRows = 8;

/// Keys of one split; those that a head reads in its turn; those in the smallest part of a tile
/// that is left out where a mask hides it.
inline constexpr Index kSplit = 1024;
inline constexpr Index kTurnKeys = 32;
inline constexpr Index kMaskedKeys = 32;

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
        value_ld_(round_up(problem.kv.value_dim, kWidth<T, A>)) {}

  /// Attends the rows of `heads` KV heads, from that of `first` on, to keys [begin, end) and leaves
  /// m, l and acc of each in its partial result, `step` elements apart. The heads take turns.
  void run(const DirectRows& first, Index heads, Index begin, Index end, T* partials, Index step,
           Arena& arena) const {
    Work* work = arena.take<Work>(heads);
    T* value_buffer = arena.take<T>(2 * value_ld_);
    for (Index h = 0; h < heads; ++h) {
      DirectRows rows = first;
      rows.kv_head += h;
      work[h] = prepare(rows, value_buffer, partials + h * step, arena);
    }
    const std::span<const Work> all(work, static_cast<std::size_t>(heads));
    if constexpr (SelectingNormalizer<Z>) {
      walk_keys(all, Pass::collect, begin, end);
      for (const Work& w : all) add_kept_values(w);
    } else {
      for_each_pass<Z>(false, [&](Pass pass) { walk_keys(all, pass, begin, end); });
    }
  }

 private:
  using Policy = Policies<M, S, Z>;
  static constexpr Index kLd = kTileLd<T, A>;

  struct Work {
    DirectRows rows;
    T* q;
    T* logits;
    T* partial;
    T* statistics;
    Index statistic_size;  ///< per row
    T* scratch;            ///< of the products
    T* value_buffer;       ///< of one token, and a sum of values; the heads' in common
  };

  Work prepare(const DirectRows& rows, T* value_buffer, T* partial, Arena& arena) const {
    const Index count = rows.rows();
    Work w{rows,
           arena.take<T>(count * key_ld_),
           arena.take<T>(count * kLd),
           partial,
           nullptr,
           0,
           nullptr,
           value_buffer};
    std::fill_n(w.logits, count * kLd, T(0));
    std::fill_n(partial, partial_size(count, value_ld_), T(0));
    for (Index r = 0; r < count; ++r) {
      *partial_row(partial, count, r, value_ld_).m = kHidden<T>;
      load_query(rows.row(r), w.q + r * key_ld_);
    }
    if constexpr (TwoPassNormalizer<Z>) {
      w.statistic_size = normalizer_.statistic().size();
      w.statistics = arena.take<T>(count * w.statistic_size);
    }
    w.scratch = arena.take<T>(p_.kv.products->scratch_size(p_.kv.source, count));
    p_.kv.products->begin(p_.kv.source, w.q, key_ld_, count, w.scratch);
    return w;
  }

  RowState<T> state(const Work& w, Index r) const noexcept {
    RowState<T> row = partial_row(w.partial, w.rows.rows(), r, value_ld_);
    if constexpr (TwoPassNormalizer<Z>) row.statistic = w.statistics + r * w.statistic_size;
    return row;
  }

  void walk_keys(std::span<const Work> work, Pass pass, Index begin, Index end) const noexcept {
    if constexpr (!OnlineNormalizer<Z>)
      for (const Work& w : work)
        for (Index r = 0; r < w.rows.rows(); ++r) begin_row(normalizer_, pass, state(w, r));
    for (Index j0 = begin; j0 < end; j0 += kKvTile)
      tile(work, pass, {j0, std::min(end, j0 + kKvTile) - 1});
  }

  const T* value_row(const Work& w, Index key) const noexcept {
    return p_.kv
        .value_rows(p_.kv.source, w.rows.batch, w.rows.kv_head, key, 1, false, w.value_buffer)
        .at;
  }

  void add_kept_values(const Work& w) const noexcept {
    for (Index r = 0; r < w.rows.rows(); ++r)
      take_kept<T, A>(policies_, normalizer_, w.rows.row(r), state(w, r), value_ld_,
                      [&](Index key) { return value_row(w, key); });
  }

  void load_query(const Row& row, T* to) const noexcept {
    const T scale = static_cast<T>(p_.scale) * Policy::template query_factor<T>;
    p_.q.load(p_.query(row.batch, row.head, row.query), to, p_.kv.key_dim, key_ld_);
    scale_row<T, A>(to, key_ld_, scale);
  }

  Coverage classify(const DirectRows& rows, const Range& keys) const noexcept {
    return policies_.mask.classify(
        Tile{rows.batch, {0, rows.queries - 1}, keys, rows.queries, rows.keys});
  }

  void tile(std::span<const Work> work, Pass pass, Range keys) const noexcept {
    const Coverage coverage = classify(work[0].rows, keys);
    if (coverage == Coverage::empty) return;
    const bool masked = coverage == Coverage::partial;
    const bool rows = p_.kv.products->values_finite != nullptr;
    const bool hides = rows && (masked || kCanHide<S>);
    if (masked) trim(work[0].rows, keys);
    const Index turn = work.size() > 1 ? kTurnKeys : kKvTile;
    in_turns(work, keys, turn, [&](const Work& w, const KvTile& part) {
      p_.kv.products->logits(p_.kv.source, part, w.q, key_ld_, w.scratch,
                             w.logits + (part.first - keys.first), kLd);
    });
    for (const Work& w : work) weigh(w, pass, masked, keys);
    if (TwoPassNormalizer<Z> && pass == Pass::collect) return;
    in_turns(work, keys, hides ? kTurnKeys : turn, [&](const Work& w, const KvTile& part) {
      add_values(w, masked, hides, part, w.logits + (part.first - keys.first));
    });
  }

  /// f(head, part of the keys) for all heads and parts of `turn` keys.
  template <class F>
  static void in_turns(std::span<const Work> work, const Range& keys, Index turn, F f) noexcept {
    for (Index j = keys.first; j <= keys.last; j += turn)
      for (const Work& w : work)
        f(w, KvTile{w.rows.batch, w.rows.kv_head, j, std::min(turn, keys.last - j + 1),
                    w.rows.rows()});
  }

  /// Leaves out what is hidden at both ends of a tile that is not hidden as a whole.
  void trim(const DirectRows& rows, Range& keys) const noexcept {
    const auto hidden = [&](Index first, Index last) {
      return classify(rows, {first, last}) == Coverage::empty;
    };
    while (keys.first + kMaskedKeys <= keys.last &&
           hidden(keys.first, keys.first + kMaskedKeys - 1))
      keys.first += kMaskedKeys;
    while (keys.first + kMaskedKeys <= keys.last && hidden(keys.last - kMaskedKeys + 1, keys.last))
      keys.last -= kMaskedKeys;
  }

  /// The row pass over the logits of a tile.
  void weigh(const Work& w, Pass pass, bool masked, const Range& keys) const noexcept {
    weigh_rows<T, A>(
        policies_, normalizer_, w.rows.rows(), masked, pass, keys.first, 0,
        keys.last - keys.first + 1, w.logits, value_ld_, [&](Index r) { return w.rows.row(r); },
        [&](Index r) { return state(w, r); }, [&](Index r) { return w.logits + r * kLd; });
  }

  /// `hides`: a weight may be zero because its key is hidden, and then its value must not come
  /// through.
  void add_values(const Work& w, bool masked, bool hides, const KvTile& part,
                  const T* weights) const noexcept {
    const auto& kv = p_.kv;
    T* acc = partial_row(w.partial, part.rows, 0, value_ld_).acc;
    if (!hides || kv.products->values_finite(kv.source, part))
      return kv.products->add_values(kv.source, part, weights, kLd, w.scratch, acc, value_ld_);
    for (Index c = 0; c < part.count; c += kValueTokens<A>)
      for (Index r = 0; r < part.rows; ++r)
        add_visible(w, masked, r,
                    {part.first + c, part.first + std::min(part.count, c + kValueTokens<A>) - 1},
                    weights + r * kLd + c, acc + r * value_ld_);
  }

  /// Of so few tokens that the sums are those of the products, bit by bit.
  void add_visible(const Work& w, bool masked, Index r, const Range& keys, const T* weights,
                   T* acc) const noexcept {
    T* sum = w.value_buffer + value_ld_;
    std::fill_n(sum, value_ld_, T(0));
    for (Index key = keys.first; key <= keys.last; ++key, ++weights) {
      if (masked && !policies_.mask.visible(w.rows.row(r), key)) continue;
      if (kCanHide<S> && *weights == T(0)) continue;
      add_scaled_row<T, A>(*weights, value_row(w, key), value_ld_, sum);
    }
    add_scaled_row<T, A>(T(1), sum, value_ld_, acc);
  }

  const Problem<T>& p_;
  Policy policies_;
  const Z& normalizer_;
  Index key_ld_, value_ld_;
};

}  // namespace weft::detail
