#pragma once

#include <weft/attention/softmax/direct.hpp>
#include <weft/attention/softmax/engine.hpp>

/// How one attention call is cut into tasks and carried out.
namespace weft::detail {

/// The tasks of one batch element: query blocks of the tiled engine, or key splits of the direct
/// one. Everything follows from shapes.
struct SequencePlan {
  Index queries, keys;
  bool direct;
  Index block_queries;   ///< queries of one block, tiled only
  Index tasks_per_head;  ///< per KV head

  /// `tiles` of `tile_rows` queries make a task of the tiled engine; `may_split`: whether keys may
  /// be split.
  static SequencePlan make(Index queries, Index keys, Index group, Index tiles, Index tile_rows,
                           bool may_split) noexcept {
    SequencePlan plan{queries, keys, group * queries <= kDirectRows, 0, 0};
    if (queries == 0) return plan;
    if (plan.direct) {
      plan.tasks_per_head = may_split ? std::max<Index>(1, ceil_div(keys, kSplit)) : 1;
    } else {
      plan.block_queries = std::max<Index>(1, tiles / group) * tile_rows;
      plan.tasks_per_head = ceil_div(queries, plan.block_queries);
    }
    return plan;
  }
};

template <class T, class A, class M, class S, class Z, class P>
class AttentionCall {
 public:
  AttentionCall(const Problem<T>& problem, const M& mask, const S& score, const Z& normalizer)
      : p_(problem),
        normalizer_(normalizer),
        tiled_(problem, mask, score, normalizer),
        direct_(problem, mask, score, normalizer),
        value_ld_(round_up(problem.kv.value_dim, kWidth<T, A>)) {}

  void run(const Context& ctx) const {
    const Arena::Frame frame(ctx.arena());
    const Table table = tabulate(ctx.arena(), ctx.workers());
    ctx.parallel(table.first_task[p_.batch],
                 [&](Index task, Arena& arena) { run_task(table, task, arena); });
    for (Index b = 0; b < p_.batch; ++b) merge_splits(table, b);
  }

  /// All of it by the calling thread, which may be carrying out a task of a larger call.
  void run(Arena& arena) const {
    const Arena::Frame frame(arena);
    const Table table = tabulate(arena, 1);
    for (Index task = 0; task < table.first_task[p_.batch]; ++task) {
      const Arena::Frame own(arena);
      run_task(table, task, arena);
    }
    for (Index b = 0; b < p_.batch; ++b) merge_splits(table, b);
  }

 private:
  using Tiled = TiledAttention<T, A, M, S, Z, P>;

  /// Prefix sums over the batch: tasks, and elements of partial results. KV heads of one task.
  struct Table {
    Index* first_task;
    Index* first_partial;
    Index* heads_per_task;
    T* partials;
  };

  SequencePlan plan(Index b) const noexcept {
    const Index keys = p_.keys_of(b);
    return SequencePlan::make(p_.queries_of(b), keys, p_.group(), Tiled::tiles_per_task(keys),
                              P::template Tiles<T, A>::kRows, !TwoPassNormalizer<Z>);
  }

  /// Splits of one KV head whose results wait for the merge; a single split is finished at once.
  static bool is_split(const SequencePlan& plan) noexcept {
    return plan.direct && plan.tasks_per_head > 1;
  }

  /// Heads that lie side by side in memory are read in one task, as far as there is work for all:
  /// every head gives the same bits alone.
  Index heads_per_task(Index b, const SequencePlan& plan, int workers) const noexcept {
    if (!p_.kv.heads_adjoin(p_.kv.source, b)) return 1;
    const Index wanted = workers == 1 ? 1 : 4 * workers;  // tasks
    const Index all = p_.batch * p_.kv.kv_heads * plan.tasks_per_head;
    return std::clamp<Index>(all / wanted, 1, p_.kv.kv_heads);
  }

  Table tabulate(Arena& arena, int workers) const {
    Table t{arena.take<Index>(p_.batch + 1), arena.take<Index>(p_.batch + 1),
            arena.take<Index>(p_.batch), nullptr};
    t.first_task[0] = t.first_partial[0] = 0;
    for (Index b = 0; b < p_.batch; ++b) {
      const SequencePlan s = plan(b);
      t.heads_per_task[b] = s.direct ? heads_per_task(b, s, workers) : 1;
      const Index tasks = ceil_div(p_.kv.kv_heads, t.heads_per_task[b]) * s.tasks_per_head;
      const Index parts = p_.kv.kv_heads * s.tasks_per_head;
      const Index size = partial_size(p_.group() * s.queries, value_ld_);
      t.first_task[b + 1] = t.first_task[b] + tasks;
      t.first_partial[b + 1] = t.first_partial[b] + (is_split(s) ? parts * size : 0);
    }
    t.partials = arena.take<T>(t.first_partial[p_.batch]);
    return t;
  }

  void run_task(const Table& table, Index task, Arena& arena) const {
    const Index b = std::upper_bound(table.first_task, table.first_task + p_.batch, task) -
                    table.first_task - 1;
    run_task_of(table, b, task - table.first_task[b], arena);
  }

  /// Late blocks first: under a causal mask they are the long ones, and what is left for the end of
  /// the queue should be short.
  void run_task_of(const Table& table, Index b, Index task, Arena& arena) const {
    const SequencePlan s = plan(b);
    const Index h = task / s.tasks_per_head, part = task % s.tasks_per_head;
    if (s.direct) return run_direct(table, b, s, h * table.heads_per_task[b], part, arena);
    const Index first = (s.tasks_per_head - 1 - part) * s.block_queries;
    tiled_.run(
        {b, h, h * p_.group(), p_.group(), first, std::min(s.block_queries, s.queries - first)},
        arena);
  }

  /// One split of the keys for the KV heads of a task, from head h on.
  void run_direct(const Table& table, Index b, const SequencePlan& s, Index h, Index part,
                  Arena& arena) const {
    const Index heads = std::min(table.heads_per_task[b], p_.kv.kv_heads - h);
    DirectRows rows{b, h, p_.group(), s.queries, s.keys};
    const Index size = partial_size(rows.rows(), value_ld_);
    const Index step = is_split(s) ? s.tasks_per_head * size : size;  // from head to head
    T* partials =
        is_split(s) ? table.partials + table.first_partial[b] + (h * s.tasks_per_head + part) * size
                    : arena.take<T>(heads * size);
    const Index end = is_split(s) ? std::min(s.keys, (part + 1) * kSplit) : s.keys;
    direct_.run(rows, heads, part * kSplit, end, partials, step, arena);
    if (is_split(s)) return;
    for (; rows.kv_head < h + heads; ++rows.kv_head, partials += step) finish(rows, partials);
  }

  void finish(const DirectRows& rows, T* partial) const noexcept {
    for (Index r = 0; r < rows.rows(); ++r)
      finish_row(p_, normalizer_, rows.row(r), partial_row(partial, rows.rows(), r, value_ld_));
  }

  /// Merges the splits of a batch element into the first of each head, in order.
  void merge_splits(const Table& table, Index b) const noexcept {
    const SequencePlan s = plan(b);
    if (!is_split(s)) return;
    for (Index h = 0; h < p_.kv.kv_heads; ++h) {
      const DirectRows rows{b, h, p_.group(), s.queries, s.keys};
      const Index size = partial_size(rows.rows(), value_ld_);
      T* first = table.partials + table.first_partial[b] + h * s.tasks_per_head * size;
      for (Index part = 1; part < s.tasks_per_head; ++part)
        for (Index r = 0; r < rows.rows(); ++r)
          merge(partial_row(first, rows.rows(), r, value_ld_),
                partial_row(first + part * size, rows.rows(), r, value_ld_));
      finish(rows, first);
    }
  }

  void merge(const RowState<T>& into, const RowState<T>& from) const noexcept {
    if constexpr (OnlineNormalizer<Z>)
      merge_row<T, A>(into, from, value_ld_);
    else
      add_row_state<T, A>(into, from, value_ld_);
  }

  const Problem<T>& p_;
  const Z& normalizer_;
  Tiled tiled_;
  DirectAttention<T, A, M, S, Z> direct_;
  Index value_ld_;
};

}  // namespace weft::detail
