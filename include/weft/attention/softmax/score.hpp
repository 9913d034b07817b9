#pragma once

#include <weft/attention/softmax/mask.hpp>
#include <weft/core/math.hpp>

#include <concepts>
#include <limits>
#include <type_traits>

/// Scores: what happens to a logit between q k^T and the mask.
///
/// A score is a plain struct with
///
///   template <class V> V operator()(V s, const Row& row, Index j0) const noexcept
///
/// which receives the scaled logits of keys j0, j0 + 1, ... of one row, in natural units, and gives
/// back what softmax shall see. Lanes beyond the last key may hold anything and are discarded; a
/// score must not read its own data there. Data of the caller are checked once by an optional
///   void check(Index batch, Index heads, Index queries, Index keys) const;
/// A score that can hide a key by answering -inf says so: `static constexpr bool can_hide = true`.
/// Scores are applied in the order in which a Chain lists them.
///
/// A score with a number of its own for every query and key may say where those of keys
/// begin, ..., end - 1 lie, and they are fetched before it asks for them:
///   ReadRange reads(const Row& row, Index begin, Index end) const noexcept
///
/// A score that has work to do for a tile of logits as a whole, such as a product of its own, gives
/// the score that is asked about the rows of that tile:
///   auto of_tile(const Row& first, Index rows, Index begin, Index end) const noexcept
/// queries first.query, ..., first.query + rows - 1 against keys begin, ..., end - 1. It is itself
/// asked where there are too few queries for tiles. Since it needs memory of its own, it is made
/// for one head of one task (attend_within_task).
///
/// A score may besides change the weights that the normalizer makes of the logits:
///   template <class V> V reweigh(V w, const Row& row, Index j0) const noexcept
/// Its answer multiplies the values and nothing else: sums of weights, and with them denominators
/// and log-sum-exps, are of w, and merging partial results stays exact. weight_factor.hpp makes
/// such a score of any that multiplies.
namespace weft {

template <class S, class V = Vec<float>>
concept Score = requires(const S& s, V v, const Row& r, Index j0) {
  { s(v, r, j0) } noexcept -> std::same_as<V>;
};

/// A stretch of memory; of no bytes where there is nothing to say.
struct ReadRange {
  const void* first = nullptr;
  Index bytes = 0;
};

/// Plain scaled dot products.
struct NoScore {
  template <class V>
  V operator()(V s, const Row&, Index) const noexcept {
    return s;
  }
};
static_assert(Score<NoScore>);

namespace detail {

template <class S>
inline constexpr bool kCanHide = requires { requires S::can_hide; };

template <class S>
concept ReweighingScore = requires(const S& s, Vec<float> w, const Row& r, Index j0) {
  { s.reweigh(w, r, j0) } noexcept -> std::same_as<Vec<float>>;
};

template <class S>
concept ReadingScore = requires(const S& s, const Row& r, Index j) {
  { s.reads(r, j, j) } noexcept -> std::same_as<ReadRange>;
};

template <class S>
concept TileScore = requires(const S& s, const Row& r, Index n) {
  { s.of_tile(r, n, n, n) } noexcept -> Score;
};

/// The score to ask about the rows of a tile.
template <class S>
decltype(auto) score_of_tile(const S& score, const Row& first, Index rows, Index begin,
                             Index end) noexcept {
  if constexpr (TileScore<S>)
    return score.of_tile(first, rows, begin, end);
  else
    return (score);
}

/// What a score makes of weights: themselves, if it has nothing to say.
template <class V, class S>
V reweigh(const S& score, V w, const Row& r, Index j0) noexcept {
  if constexpr (ReweighingScore<S>)
    return score.reweigh(w, r, j0);
  else
    return w;
}

template <class V>
inline constexpr Index kLanes = static_cast<Index>(V::size);

/// What score and mask policies may read of a row of their own data: the keys that exist. Here and
/// below compilers are not asked whether to inline: the address of the row would be computed anew
/// for every vector.
template <class V, class T>
[[gnu::always_inline]] inline V load_keys(const T* row, Index step, const Row& r,
                                          Index j0) noexcept {
  using Lane = typename V::value_type;
  if constexpr (std::is_same_v<T, Lane>) {
    if (step == 1 && j0 + kLanes<V> <= r.keys) return V::load_unaligned(row + j0);
  }
  Lane lanes[V::size] = {};
  const Index count = std::min(kLanes<V>, r.keys - j0);
  for (Index l = 0; l < count; ++l) lanes[l] = static_cast<Lane>(row[(j0 + l) * step]);
  return V::load_unaligned(lanes);
}

/// The row of a table [B, H, N, M], axes of extent 1 broadcast.
template <class T>
[[gnu::always_inline]] inline const T* broadcast_row(const View<const T, 4>& table,
                                                     const Row& r) noexcept {
  const auto at = [&](std::size_t axis, Index i) { return table.extent(axis) == 1 ? 0 : i; };
  return table.pointer(at(0, r.batch), at(1, r.head), at(2, r.query));
}

/// Numbers of such a table.
template <class V, class T>
[[gnu::always_inline]] inline V load_broadcast(const View<const T, 4>& table, const Row& r,
                                               Index j0) noexcept {
  return load_keys<V>(broadcast_row(table, r), table.extent(3) == 1 ? 0 : table.stride(3), r, j0);
}

/// Where they lie, if side by side.
template <class T>
ReadRange range_of(const View<const T, 4>& table, const Row& r, Index begin, Index end) noexcept {
  if (table.extent(3) == 1 || table.stride(3) != 1) return {};
  return {broadcast_row(table, r) + begin, (end - begin) * Index{sizeof(T)}};
}

}  // namespace detail

/// Soft-capped logits, s <- cap tanh(s / cap) (Gemma 2, arXiv:2408.00118). Comes before bias and
/// mask; cap > 0.
struct SoftCap {
  double cap;

  template <class V>
  V operator()(V s, const Row&, Index) const noexcept {
    using T = typename V::value_type;
    return V(static_cast<T>(cap)) * math::tanh_quotient(s * V(static_cast<T>(1 / cap)));
  }
  void check(Index, Index, Index, Index) const {
    require(cap > 0 && cap < std::numeric_limits<double>::infinity(),
            "SoftCap: cap must be positive and finite, got ", cap);
  }
};
static_assert(Score<SoftCap>);

/// Additive bias s <- s + bias[b, h, i, j]; axes of extent 1 are broadcast. A bias of -inf hides
/// the key from the query, whatever the key and the value hold.
template <class T = float>
struct AdditiveBias {
  static constexpr bool can_hide = true;
  View<const T, 4> bias;

  explicit AdditiveBias(View<const T, 4> b) noexcept : bias(b) {}

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    const V b = detail::load_broadcast<V>(bias, r, j0);
    const V hidden(-std::numeric_limits<typename V::value_type>::infinity());
    return xsimd::select(b == hidden, hidden, s + b);
  }
  ReadRange reads(const Row& r, Index begin, Index end) const noexcept {
    return detail::range_of(bias, r, begin, end);
  }
  void check(Index batch, Index heads, Index queries, Index keys) const {
    (void)bias.broadcast({batch, heads, queries, keys});
  }
};
static_assert(Score<AdditiveBias<float>>);

/// Attention with linear biases (Train Short, Test Long, arXiv:2108.12409):
///   s <- s - slope[h] |i + (M - N) - j|
/// `slopes` has one entry per query head (see position/alibi.hpp for the published ones).
template <class T = float>
struct Alibi {
  View<const T, 1> slopes;

  explicit Alibi(View<const T, 1> per_head) noexcept : slopes(per_head) {}

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    using Lane = typename V::value_type;
    const V distance = xsimd::abs(key_positions(s, j0 - r.position()));
    return mul_add(V(static_cast<Lane>(-slopes(r.head))), distance, s);
  }
  void check(Index, Index heads, Index, Index) const {
    require(slopes.extent(0) == heads, "Alibi: ", slopes.extent(0), " slopes for ", heads,
            " query heads; give one per head");
  }
};
static_assert(Score<Alibi<float>>);

/// A number per head and relative position, t[h, (j - (i + M - N)) + zero]: what RelativeBias and
/// RelativeFactor share. `table` is [H, L], `zero` the column of distance 0. Distances run from
/// -(M - 1) to N - 1, so zero >= M - 1 and L >= zero + N.
template <class T>
struct RelativeTable {
  View<const T, 2> table;
  Index zero;

  /// The numbers of keys j0, j0 + 1, ... for the query of the row.
  template <class V>
  V at(const Row& r, Index j0) const noexcept {
    return detail::load_keys<V>(table.pointer(r.head) + zero - r.position(), 1, r, j0);
  }
  void check(Index, Index heads, Index queries, Index keys) const {
    require(table.extent(0) == heads, "relative table: ", table.extent(0), " rows for ", heads,
            " query heads; give one per head");
    require(table.stride(1) == 1, "relative table: the last axis must have stride 1");
    require(zero >= keys - 1 && table.extent(1) >= zero + queries,
            "relative table: distances from ", -(keys - 1), " to ", queries - 1,
            " are asked for, the table has ", -zero, " to ", table.extent(1) - zero - 1);
  }
};

/// Bias by relative position (T5, arXiv:1910.10683; any Toeplitz bias), s <- s + t.
template <class T = float>
struct RelativeBias : RelativeTable<T> {
  RelativeBias(View<const T, 2> t, Index z) noexcept : RelativeTable<T>{t, z} {}

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return s + this->template at<V>(r, j0);
  }
};
template <class T>
RelativeBias(View<T, 2>, Index) -> RelativeBias<std::remove_const_t<T>>;
static_assert(Score<RelativeBias<float>>);

/// s <- s t. Of weights instead of logits: WeightFactor (weight_factor.hpp).
template <class T = float>
struct RelativeFactor : RelativeTable<T> {
  RelativeFactor(View<const T, 2> t, Index z) noexcept : RelativeTable<T>{t, z} {}

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return s * this->template at<V>(r, j0);
  }
};
template <class T>
RelativeFactor(View<T, 2>, Index) -> RelativeFactor<std::remove_const_t<T>>;
static_assert(Score<RelativeFactor<float>>);

/// First, then Second.
template <class First, class Second>
struct Chain {
  static constexpr bool can_hide = detail::kCanHide<First> || detail::kCanHide<Second>;
  First first;
  Second second;

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    return second(first(s, r, j0), r, j0);
  }
  /// Of both, the numbers of the first are fetched ahead.
  ReadRange reads(const Row& r, Index begin, Index end) const noexcept
    requires(detail::ReadingScore<First> || detail::ReadingScore<Second>)
  {
    if constexpr (detail::ReadingScore<First>)
      return first.reads(r, begin, end);
    else
      return second.reads(r, begin, end);
  }
  template <class V>
  V reweigh(V w, const Row& r, Index j0) const noexcept
    requires(detail::ReweighingScore<First> || detail::ReweighingScore<Second>)
  {
    return detail::reweigh(second, detail::reweigh(first, w, r, j0), r, j0);
  }
  void check(Index batch, Index heads, Index queries, Index keys) const {
    detail::check_policy(first, batch, heads, queries, keys);
    detail::check_policy(second, batch, heads, queries, keys);
  }
};
template <class First, class Second>
Chain(First, Second) -> Chain<First, Second>;

}  // namespace weft
