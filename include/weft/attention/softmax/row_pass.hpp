#pragma once

#include <weft/attention/softmax/normalizer.hpp>
#include <weft/attention/softmax/problem.hpp>
#include <weft/attention/softmax/score.hpp>

/// The element-wise part of the online softmax, one row of one tile at a time.
///
/// Logits are kept in units of log 2, so that the weights are 2^(s - m): the factor log2(e) is
/// folded into the queries when there is no score, and applied after the score when there is one.
/// (Normalizers without exponentials get natural units; weigh.hpp has their row pass.) A hidden key
/// has the logit kHidden, a finite number, so that nothing here depends on how the compiler treats
/// infinities.
namespace weft::detail {

template <class T>
inline constexpr T kLog2e = T(1.4426950408889634074);
template <class T>
inline constexpr T kLn2 = T(0.69314718055994530942);

/// Logits at or below this are hidden; it leaves room for a subtraction without overflow.
template <class T>
inline constexpr T kHidden = std::numeric_limits<T>::lowest() / 4;

/// The running state of one row: sum of weights and unnormalised output relative to the base m. The
/// statistic is that of normalizers with two passes.
template <class T>
struct RowState {
  T* m;
  T* l;
  T* acc;
  T* statistic = nullptr;
};

/// The base m follows the running maximum only when that has risen by more than this: weights up to
/// 2^8 cost no accuracy in floating point, and after the first tile hardly any row is rescaled.
template <class T>
inline constexpr T kRise = T(8);

/// The policies of a mixer as the row pass needs them.
template <class M, class S, class Z>
struct Policies {
  const M& mask;
  const S& score;
  static constexpr bool has_score = !std::is_same_v<S, NoScore>;
  static constexpr bool exponential = ExponentialNormalizer<Z>;
  static constexpr bool reweighs = ReweighingScore<S>;

  /// What queries are multiplied by besides the scale.
  template <class T>
  static constexpr T query_factor = exponential && !has_score ? kLog2e<T> : T(1);
};

/// A copy of a policy, if a cheap one. To what is only referred to, a store of logits might be a
/// change, for all that the compiler knows: it would be read again for every vector.
template <class Reference, class Policy = std::remove_cvref_t<Reference>>
using AtHand =
    std::conditional_t<std::is_trivially_copyable_v<Policy>, const Policy, const Policy&>;

/// The logits x of keys j0, j0 + 1, ... after score and mask.
template <class T, class A, bool Masked, class P, class S, class M>
[[gnu::always_inline]] inline Vec<T, A> finish_lanes(Vec<T, A> x, const S& score, const M& mask,
                                                     const Row& row, Index j0) noexcept {
  using V = Vec<T, A>;
  if constexpr (P::has_score) x = score(x, row, j0);
  if constexpr (P::has_score && P::exponential) x = x * V(kLog2e<T>);
  if constexpr (Masked) x = xsimd::select(mask_lanes<T, A>(mask, row, j0), x, V(kHidden<T>));
  return x;
}

/// The maximum of the logits s[begin, end). Lanes between `end` and the next multiple of the vector
/// become hidden.
template <class T, class A>
[[gnu::always_inline]] inline T largest_logit(T* s, Index begin, Index end) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  const V hidden(kHidden<T>);
  V top = hidden;
  Index c = begin;
  for (; c + W <= end; c += W) top = xsimd::max(top, load<A>(s + c));
  if (c < end) {
    const V x = xsimd::select(first_lanes<T, A>(end - c), load<A>(s + c), hidden);
    store<A>(s + c, x);
    top = xsimd::max(top, x);
  }
  return max_lanes(top);
}

/// Finishes the logits s[begin, end) of keys j0 + begin, ...: score, mask, tail. Returns their
/// maximum. Lanes between `end` and the next multiple of the vector become hidden.
template <class T, class A, bool Masked, class P>
T finish_logits(const P& policies, const Row& of, Index j0, Index begin, Index end, T* s) noexcept {
  if constexpr (!P::has_score && !Masked) return largest_logit<T, A>(s, begin, end);
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  const Row row = of;
  AtHand<decltype(P::score)> score = policies.score;
  [[maybe_unused]] AtHand<decltype(P::mask)> mask = policies.mask;
  const V hidden(kHidden<T>);
  V best[2] = {hidden, hidden};
  const auto one = [&](Index c, V & top) __attribute__((always_inline)) {
    const V x = finish_lanes<T, A, Masked, P>(load<A>(s + c), score, mask, row, j0 + c);
    store<A>(s + c, x);
    top = xsimd::max(top, x);
  };
  Index c = begin;
  for (; c + 2 * W <= end; c += 2 * W) {
    one(c, best[0]);
    one(c + W, best[1]);
  }
  for (; c < end; c += W) {
    V top = hidden;
    one(c, top);
    if (c + W > end) {
      const V x = xsimd::select(first_lanes<T, A>(end - c), load<A>(s + c), hidden);
      store<A>(s + c, x);
      top = x;
    }
    best[0] = xsimd::max(best[0], top);
  }
  return max_lanes(xsimd::max(best[0], best[1]));
}

/// What becomes of the weights of keys c, c + 1, ... of a tile after they are summed: nothing.
struct AsTheyAre {
  template <class V>
  V operator()(V w, Index) const noexcept {
    return w;
  }
};

/// What the score of the policies makes of the weights of one row. A key that weighs nothing, as a
/// hidden one does, goes on doing so whatever its factor is, NaN included.
template <class P>
struct Reweighing {
  AtHand<decltype(P::score)> score;
  Row row;
  Index j0;

  template <class V>
  V operator()(V w, Index c) const noexcept {
    const V zero(0);
    return xsimd::select(w == zero, zero, score.reweigh(w, row, j0 + c));
  }
};

template <class P>
auto reweighing(const P& policies, const Row& row, Index j0) noexcept {
  if constexpr (P::reweighs)
    return Reweighing<P>{policies.score, row, j0};
  else
    return AsTheyAre{};
}

/// Gives p = 2^(s - m) of [begin, end), up to the next multiple of the vector, to take(p, c), and
/// returns their sum.
template <class T, class A, class Take>
T sum_powers(const T* s, Index begin, Index end, T m, const Take& take) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  const V top(m);
  V even(T(0)), odd(T(0));
  Index c = begin;
  for (; c + W < end; c += 2 * W) {
    const V p = math::exp2_nonpositive(load<A>(s + c) - top);
    const V q = math::exp2_nonpositive(load<A>(s + c + W) - top);
    take(p, c);
    take(q, c + W);
    even += p;
    odd += q;
  }
  if (c < end) {
    const V p = math::exp2_nonpositive(load<A>(s + c) - top);
    take(p, c);
    even += p;
  }
  return sum_lanes(even + odd);
}

/// The base that weights are relative to. A row that has seen no key has zero, where hidden logits
/// weigh exactly nothing.
template <class T>
T base_of(T m) noexcept {
  return m <= kHidden<T> ? T(0) : m;
}

/// Moves the base of a row to `m`. What would shrink to the edge of the range is dropped, being
/// less than any rounding error: under steep biases every tile would underflow, which is slow.
template <class T, class A>
void rebase_row(const RowState<T>& state, T m, Index padded_dim) noexcept {
  if (*state.l != T(0)) {
    constexpr T least = std::is_same_v<T, float> ? T(-100) : T(-900);
    const T fall = *state.m - m;
    const T shrink = fall < least ? T(0) : std::exp2(fall);
    *state.l *= shrink;
    scale_row<T, A>(state.acc, padded_dim, shrink);
  }
  *state.m = m;
}

/// Makes `top`, a new logit of a row, its base if that is a rise.
template <class T, class A>
[[gnu::always_inline]] inline void raise_base(const RowState<T>& state, T top,
                                              Index padded_dim) noexcept {
  if (top > *state.m + kRise<T>) rebase_row<T, A>(state, top, padded_dim);
}

/// First half of the row pass: finishes the logits of one row and moves its base if they rose.
/// `padded_dim` is the length of an accumulator row, a multiple of the vector.
template <class T, class A, class P>
void take_logits(const P& policies, const Row& row, bool masked, Index j0, Index begin, Index end,
                 T* s, const RowState<T>& state, Index padded_dim) noexcept {
  const T top = masked ? finish_logits<T, A, true>(policies, row, j0, begin, end, s)
                       : finish_logits<T, A, false>(policies, row, j0, begin, end, s);
  raise_base<T, A>(state, top, padded_dim);
}

/// Second half: turns the logits into weights and adds them up. It is a loop of its own over the
/// rows of a tile, because a row's maximum takes a chain of operations and its weights wait for the
/// end of it.
template <class T, class A, class Weight, class Finish>
void take_weights(const T* s, Index begin, Index end, Weight* weights, const RowState<T>& state,
                  const Finish& finish) noexcept {
  const auto take = [&](const Vec<T, A>& p, Index c) __attribute__((always_inline)) {
    store_as<A>(weights + c, finish(p, c));
  };
  *state.l += sum_powers<T, A>(s, begin, end, base_of(*state.m), take);
}

/// acc[0, n) += weight * row[0, n); n is a multiple of the vector.
template <class T, class A>
void add_scaled_row(T weight, const T* row, Index n, T* acc) noexcept {
  const Vec<T, A> w(weight);
  for (Index e = 0; e < n; e += kWidth<T, A>)
    store<A>(acc + e, mul_add(w, load<A>(row + e), load<A>(acc + e)));
}

/// Whether all of `count` rows of n elements are finite; n is a multiple of the vector.
template <class T, class A>
bool rows_finite(const RowsOf<T>& rows, Index count, Index n) noexcept {
  const Vec<T, A> largest(std::numeric_limits<T>::max());
  for (Index j = 0; j < count; ++j)
    for (Index e = 0; e < n; e += kWidth<T, A>)
      if (!xsimd::all(xsimd::abs(load<A>(rows.at + j * rows.step + e)) <= largest)) return false;
  return true;
}

/// Merges the state of a row over other keys into `into`:
///   m' = max(m1, m2), l' = 2^(m1 - m') l1 + 2^(m2 - m') l2, acc likewise.
template <class T, class A>
void merge_row(const RowState<T>& into, const RowState<T>& from, Index padded_dim) noexcept {
  if (*from.l == T(0)) return;
  const T m = *into.m < *from.m ? *from.m : *into.m;
  const T keep = std::exp2(*into.m - m), add = std::exp2(*from.m - m);
  *into.m = m;
  *into.l = *into.l * keep + *from.l * add;
  scale_row<T, A>(into.acc, padded_dim, keep);
  add_scaled_row<T, A>(add, from.acc, padded_dim, into.acc);
}

/// Divides, converts and writes one row of the output and its log-sum-exp.
template <class T, class Z>
void finish_row(const Problem<T>& problem, const Z& normalizer, const Row& row,
                const RowState<T>& state) noexcept {
  const T m = *state.m, l = *state.l;
  problem.out.store(state.acc, normalizer.factor(m, l, row),
                    problem.output(row.batch, row.head, row.query), problem.kv.value_dim);
  if (T* lse = problem.lse_at(row.batch, row.head, row.query))
    *lse = l == T(0) ? -std::numeric_limits<T>::infinity() : (m + std::log2(l)) * kLn2<T>;
}

}  // namespace weft::detail
