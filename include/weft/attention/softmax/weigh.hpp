#pragma once

#include <weft/attention/softmax/row_pass.hpp>
#include <weft/attention/softmax/tiles.hpp>

/// The row pass of element-wise normalizers, and of those with two passes: logits are finished by
/// row_pass.hpp, after which a hidden key is known by its logit and no base moves.
namespace weft::detail {

/// What is done with the logits of a tile: they are finished and taken into the statistic, finished
/// and weighed, or weighed as the pass before has left them.
enum class Pass { collect, weigh, weigh_finished };

/// Calls f(pass) for every walk over the keys. `kept`: logits stay from one to the next.
template <class Z, class F>
void for_each_pass(bool kept, const F& f) {
  if constexpr (TwoPassNormalizer<Z>) f(Pass::collect);
  f(TwoPassNormalizer<Z> && kept ? Pass::weigh_finished : Pass::weigh);
}

/// The weight function of one row.
template <class T, class Z>
auto row_weights(const Z& z, const Row& row, const T* statistic) noexcept {
  if constexpr (TwoPassNormalizer<Z>)
    return z.weights(static_cast<const T*>(statistic), row);
  else
    return z.template weights<T>(row);
}

/// Prepares a row for a pass: the statistic for the first of two, m for the one that weighs.
template <class T, class Z>
void begin_row(const Z& z, Pass pass, const RowState<T>& state) noexcept {
  if constexpr (TwoPassNormalizer<Z>)
    if (pass == Pass::collect) return z.statistic().start(state.statistic);
  if constexpr (ExponentialNormalizer<Z>)
    *state.m = z.base(static_cast<const T*>(state.statistic));
  else
    *state.m = T(0);
}

/// weights[begin, end) of keys j0 + begin, ... from the finished logits logit(c), up to the next
/// multiple of the vector: zero where a key is hidden. Adds up l, and the number of visible keys in
/// m unless that is a base.
template <class T, class A, class P, class Z, class Weight, class Logit>
[[gnu::always_inline]] inline void weigh_row(const P& policies, const Z& z, const Row& row,
                                             const Logit& logit, Index j0, Index begin, Index end,
                                             Weight* weights, const RowState<T>& state) noexcept {
  using V = Vec<T, A>;
  const auto weigh = row_weights<T>(z, row, state.statistic);
  const auto finish = reweighing(policies, row, j0);
  const V zero(T(0)), one(T(1)), hidden(kHidden<T>);
  V sum = zero, count = zero;
  for (Index c = begin; c < end; c += kWidth<T, A>) {
    const V x = logit(c);
    const auto out_of_sight = x <= hidden;  // false for NaN, which shall be seen
    // Weights of -infinity would be multiplied out of underflows, which processors take 100 cycles
    // for each.
    const V seen = xsimd::select(out_of_sight, zero, x);
    const V w = xsimd::select(out_of_sight, zero, weigh(seen, j0 + c));
    store_as<A>(weights + c, finish(w, c));
    if constexpr (!ExponentialNormalizer<Z>) count += xsimd::select(out_of_sight, zero, one);
    if constexpr (requires { z.mass(w); })
      sum += z.mass(w);
    else
      sum += w;
  }
  *state.l += sum_lanes(sum);
  if constexpr (!ExponentialNormalizer<Z>) *state.m += sum_lanes(count);
}

/// The same from raw logits s, finished on the way: for normalizers without a statistic.
template <class T, class A, bool Masked, class P, class Z, class Weight>
void finish_and_weigh_row(const P& policies, const Z& z, const Row& of, const T* s, Index j0,
                          Index begin, Index end, Weight* weights,
                          const RowState<T>& state) noexcept {
  using V = Vec<T, A>;
  const Row row = of;
  AtHand<decltype(P::score)> score = policies.score;
  [[maybe_unused]] AtHand<decltype(P::mask)> mask = policies.mask;
  const auto logit = [&](Index c) __attribute__((always_inline)) {
    const V x = finish_lanes<T, A, Masked, P>(load<A>(s + c), score, mask, row, j0 + c);
    if (c + kWidth<T, A> <= end) return x;
    return V(xsimd::select(first_lanes<T, A>(end - c), x, V(kHidden<T>)));
  };
  weigh_row<T, A>(policies, z, row, logit, j0, begin, end, weights, state);
}

/// One row of one tile. Both of two passes finish logits by the same code, so that they get the
/// same bits: the choice of a key may hang on equality.
template <class T, class A, class P, class Z, class Weight>
void take_row(const P& policies, const Z& z, const Row& row, bool masked, Pass pass, Index j0,
              Index begin, Index end, T* s, Weight* weights, const RowState<T>& state) noexcept {
  if constexpr (TwoPassNormalizer<Z>) {
    if (pass != Pass::weigh_finished) {
      const T top = masked ? finish_logits<T, A, true>(policies, row, j0, begin, end, s)
                           : finish_logits<T, A, false>(policies, row, j0, begin, end, s);
      if (pass == Pass::collect)
        return z.statistic().template add<A>(s, begin, end, j0, top, state.statistic);
    }
    const auto logit = [s](Index c) { return load<A>(s + c); };
    weigh_row<T, A>(policies, z, row, logit, j0, begin, end, weights, state);
  } else if (masked) {
    finish_and_weigh_row<T, A, true>(policies, z, row, s, j0, begin, end, weights, state);
  } else {
    finish_and_weigh_row<T, A, false>(policies, z, row, s, j0, begin, end, weights, state);
  }
}

/// What the kept keys of a row weigh, and their values: value(key) is a row of them.
template <class T, class A, class P, class Z, class ValueAt>
void take_kept(const P& policies, const Z& z, const Row& row, const RowState<T>& state,
               Index padded_dim, const ValueAt& value) noexcept {
  using V = Vec<T, A>;
  begin_row(z, Pass::weigh, state);
  const auto weigh = row_weights<T>(z, row, state.statistic);
  const auto finish = reweighing(policies, row, 0);
  const KeptKeys<T> kept = z.kept(static_cast<const T*>(state.statistic));
  for (Index i = 0; i < kept.count && !(kept.logits[i] <= kHidden<T>); ++i) {
    const Index key = static_cast<Index>(kept.keys[i]);
    const V w = weigh(V(kept.logits[i]), key);
    *state.l += w.get(0);
    add_scaled_row<T, A>(finish(w, key).get(0), value(key), padded_dim, state.acc);
  }
}

/// The row pass over the logits [rows][kTileLd] of one tile, whatever the normalizer: row(r),
/// state(r) and weights(r) are what belongs to row r.
template <class T, class A, class P, class Z, class RowAt, class StateAt, class WeightsAt>
void weigh_rows(const P& policies, const Z& z, Index rows, bool masked, Pass pass, Index j0,
                Index begin, Index end, T* logits, Index padded_dim, const RowAt& row,
                const StateAt& state, const WeightsAt& weights) noexcept {
  constexpr Index ld = kTileLd<T, A>;
  if constexpr (OnlineNormalizer<Z>) {
    if (P::has_score || masked) {  // else the policies are not asked, row by row
      for (Index r = 0; r < rows; ++r)
        take_logits<T, A>(policies, row(r), masked, j0, begin, end, logits + r * ld, state(r),
                          padded_dim);
    } else {
      for (Index r = 0; r < rows; ++r)
        raise_base<T, A>(state(r), largest_logit<T, A>(logits + r * ld, begin, end), padded_dim);
    }
    for (Index r = 0; r < rows; ++r)
      take_weights<T, A>(logits + r * ld, begin, end, weights(r), state(r),
                         reweighing(policies, row(r), j0));
  } else {
    for (Index r = 0; r < rows; ++r)
      take_row<T, A>(policies, z, row(r), masked, pass, j0, begin, end, logits + r * ld, weights(r),
                     state(r));
  }
}

/// Adds the state of a row over other keys to `into`; nothing there is relative to a base.
template <class T, class A>
void add_row_state(const RowState<T>& into, const RowState<T>& from, Index padded_dim) noexcept {
  *into.m += *from.m;
  *into.l += *from.l;
  add_scaled_row<T, A>(T(1), from.acc, padded_dim, into.acc);
}

}  // namespace weft::detail
