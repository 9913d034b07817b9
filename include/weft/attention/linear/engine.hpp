#pragma once

#include <weft/attention/linear/chunk.hpp>
#include <weft/attention/linear/decays.hpp>
#include <weft/attention/linear/denominator.hpp>
#include <weft/attention/linear/feature.hpp>
#include <weft/attention/linear/problem.hpp>
#include <weft/attention/linear/state.hpp>
#include <weft/attention/linear/token.hpp>
#include <weft/attention/linear/update.hpp>
#include <weft/core/executor.hpp>

/// The linear recurrence of one head, S <- diag(a) S + k u^T, o = S^T q, in three schedules:
///
///   chunks         matrix products over runs of at most 36 tokens (chunk.hpp); a run ends early
///                  where the decay since its start leaves the range of the element type
///   tokens         the recurrence itself (token.hpp): for one token, after a decay that alone
///                  leaves the range, and for tokens beside values that are not finite
///   bidirectional  S = sum over all keys, o = S^T q, for mixers without order, decay and delta
///
/// All of them agree up to rounding. So a strong decay costs speed, not accuracy: no exponent is
/// ever taken but of sums that are small, and log a = -infinity empties the state.
namespace weft::detail {

template <class T, class A, class F, class D, class U, class Z>
class LinearHead {
 public:
  LinearHead(const LinearProblem<T>& problem, const F& feature, const D& decay, const U& update,
             const Z& denominator, const Sequence& sequence, Index head, Arena& arena)
      : p_(problem),
        feature_(feature),
        update_(update),
        denominator_(denominator),
        seq_(sequence),
        head_(head),
        arena_(arena),
        padded_(round_up(problem.features, kWidth<T, A>)),
        ld_(padded_ + kWidth<T, A>),
        rows_(arena.take<T>(kChunk * round_up(problem.dim, kWidth<T, A>))),
        q_(arena.take<T>(kChunk * ld_)),
        k_(arena.take<T>(kChunk * ld_)),
        read_(kReadsByChannel ? arena.take<T>(kChunk * ld_) : nullptr),
        chunk_(problem.features, problem.value_dim, U::reads_state, arena),
        decays_(decay, seq_, head, problem.features, kChunk, arena),
        state_(problem, seq_, head, Z::needed, arena) {}

  void run() {
    if (p_.causal)
      run_causal();
    else
      run_bidirectional();
    state_.give_back();
  }

 private:
  static constexpr bool kByNumber = D::kind == DecayKind::number;
  static constexpr bool kByChannel = D::kind == DecayKind::channels;
  static constexpr bool kReadsByChannel = kByChannel && U::reads_state;

  // --- Schedules

  void run_causal() {
    for (Index t = 0; t < seq_.queries;) {
      const Index n = decays_.run(t, std::min(kChunk, seq_.queries - t));
      if (n < kFewTokens || !run_chunk(t, n))
        for (Index i = 0; i < n; ++i) run_token(t + i);
      t += n;
    }
  }

  /// Fewer tokens than these are cheaper one by one.
  static constexpr Index kFewTokens = 3;

  /// False where the state has not been touched, because a value is not finite.
  bool run_chunk(Index t, Index n) {
    if constexpr (kByNumber) decays_.exponentiate(n);
    load_values(t, n);
    if (!U::reads_state && !chunk_.finite_updates(n)) return false;
    want(t + n);
    const FeatureMatrix<T> q = features_of(p_.q, false, t, n, q_);
    const FeatureMatrix<T> k = features_of(p_.k, true, t, n, k_);
    if constexpr (kByChannel) {
      decays_.scale(n, q_, k_, read_, ld_);
    }
    chunk_.set_keys(n, k);
    if constexpr (U::reads_state) {
      const FeatureMatrix<T> read = kByChannel ? FeatureMatrix<T>{read_, ld_} : k;
      if (!chunk_.attend_delta(n, q, read, state_.s, state_.ld)) return false;
    } else {
      chunk_.attend(n, q, state_.s, state_.ld);
    }
    chunk_.write(n, state_.s, state_.ld);
    if constexpr (Z::needed) sum_keys(n, q, k);
    decay_state(n);
    store_outputs(t, n, t + 1, 1);
    return true;
  }

  void sum_keys(Index n, const FeatureMatrix<T>& q, const FeatureMatrix<T>& k) noexcept {
    const T* share = nullptr;
    if constexpr (kByNumber) share = decays_.down;
    chunk_.sum_scores(n, q, state_.z, share);
    for (Index i = 0; i < n; ++i)
      state_.add_key(k.rows + i * k.ld, share == nullptr ? T(1) : share[i]);
  }

  void decay_state(Index n) noexcept {
    if constexpr (kByNumber) state_.scale(decays_.up[n - 1]);
    if constexpr (kByChannel) state_.scale(decays_.last(n));
  }

  void run_token(Index t) {
    load_values(t, 1, false);
    const FeatureMatrix<T> q = features_of(p_.q, false, t, 1, q_);
    const FeatureMatrix<T> k = features_of(p_.k, true, t, 1, k_);
    TokenRows<T> token{q.rows, k.rows, chunk_.u, nullptr, T(1), chunk_.o};
    constexpr bool decays = kByNumber || kByChannel;
    if constexpr (U::reads_state) token.weight = chunk_.weights[0];
    if constexpr (decays) token.decay = decays_.row(t);
    advance_token<A, decays, U::reads_state>(p_.features, chunk_.value_ld, state_.s, state_.ld,
                                             token);
    if constexpr (Z::needed) {
      if constexpr (decays) state_.scale_sum(token.decay);
      state_.add_key(k.rows, T(1));
      chunk_.denominators[0] = state_.dot(q.rows);
    }
    store_outputs(t, 1, t + 1, 1, false);
  }

  void run_bidirectional() {
    for (Index j = 0; j < seq_.keys; j += kChunk) {
      const Index n = std::min(kChunk, seq_.keys - j);
      load_values(j, n);
      const FeatureMatrix<T> k = features_of(p_.k, true, j, n, k_);
      chunk_.set_keys(n, k);
      chunk_.write(n, state_.s, state_.ld);
      for (Index i = 0; Z::needed && i < n; ++i) state_.add_key(k.rows + i * k.ld, T(1));
    }
    for (Index t = 0; t < seq_.queries; t += kChunk) {
      const Index n = std::min(kChunk, seq_.queries - t);
      const FeatureMatrix<T> q = features_of(p_.q, false, t, n, q_);
      chunk_.product(n, q, state_.s, state_.ld);
      for (Index i = 0; Z::needed && i < n; ++i)
        chunk_.denominators[i] = state_.dot(q.rows + i * q.ld);
      store_outputs(t, n, seq_.keys, 0);
    }
  }

  // --- Rows in and out

  /// The rows of the chunk from token t on will be needed.
  void want(Index t) noexcept {
    chunk_.ahead.forget();
    if (t >= seq_.queries) return;
    const Index n = std::min(kChunk, seq_.queries - t), token = seq_.first + t;
    for (const InputRows<T>* x : {&p_.q, &p_.k, &p_.v})
      chunk_.ahead.want(x->at(seq_.batch, head_, token), x->row, x->row_bytes, n);
    chunk_.ahead.want(p_.out.at(seq_.batch, head_, token), p_.out.row, p_.v.row_bytes, n);
  }

  /// Features of n tokens: in the memory of the caller where they are what the products want,
  /// otherwise in `to`.
  FeatureMatrix<T> features_of(const InputRows<T>& x, bool keys, Index t, Index n, T* to) {
    const Index token = seq_.first + t;
    if constexpr (std::is_same_v<F, Identity>) {
      if (!kByChannel && x.in_place && n % kTileRows == 0)
        return {reinterpret_cast<const T*>(x.at(seq_.batch, head_, token)),
                x.row / static_cast<Index>(sizeof(T))};
      x.read(seq_.batch, head_, token, n, p_.features, padded_, to, ld_);
    } else {
      const Index from_ld = round_up(p_.dim, kWidth<T, A>);
      x.read(seq_.batch, head_, token, n, p_.dim, from_ld, rows_, from_ld);
      map_features<A>(feature_,
                      FeatureRows<T>{rows_, from_ld, to, ld_, n, p_.dim, seq_.batch, head_, token,
                                     p_.position + t, keys},
                      arena_);
      for (Index i = 0; i < n; ++i)
        std::fill(to + i * ld_ + p_.features, to + i * ld_ + padded_, T(0));
    }
    return {to, ld_};
  }

  /// Values of n tokens, by their weights and, in a chunk, by exp(-B).
  void load_values(Index t, Index n, bool in_chunk = true) {
    const Index ld = chunk_.value_ld;
    p_.v.read(seq_.batch, head_, seq_.first + t, n, p_.value_dim, ld, chunk_.u, ld);
    for (Index i = 0; i < n; ++i) {
      T factor(1);
      if constexpr (U::has_weight) {
        chunk_.weights[i] =
            static_cast<T>(update_.weight_at(seq_.batch, head_, seq_.first + t + i));
        if (!U::reads_state) factor = chunk_.weights[i];
      }
      if constexpr (kByNumber) factor *= in_chunk ? decays_.down[i] : T(1);
      if constexpr (kByNumber || (U::has_weight && !U::reads_state))
        scale_row<T, A>(chunk_.u + i * ld, ld, factor);
    }
  }

  /// Row i divides by the sum of `keys` + i `more` keys.
  void store_outputs(Index t, Index n, Index keys, Index more, bool in_chunk = true) noexcept {
    for (Index i = 0; i < n; ++i) {
      T factor = static_cast<T>(p_.scale);
      if constexpr (kByNumber) factor *= in_chunk ? decays_.up[i] : T(1);
      if constexpr (Z::needed)
        factor *=
            denominator_.factor(factor * chunk_.denominators[i], p_.position + keys + i * more);
      p_.out.store(chunk_.o + i * chunk_.value_ld, factor,
                   p_.out.at(seq_.batch, head_, seq_.first + t + i), p_.value_dim);
    }
  }

  const LinearProblem<T>& p_;
  const F& feature_;
  const U& update_;
  const Z& denominator_;
  Sequence seq_;
  Index head_;
  Arena& arena_;
  Index padded_, ld_;  ///< of rows of features
  T* rows_;            ///< channels on their way to features
  T *q_, *k_, *read_;
  Chunk<T, A> chunk_;
  Decays<T, A, D> decays_;
  HeadState<T, A> state_;
};

/// Every sequence and head is a task of its own.
template <class A, class T, class F, class D, class U, class Z>
void run_linear(const LinearProblem<T>& problem, const F& feature, const D& decay, const U& update,
                const Z& denominator, const Context& ctx) {
  ctx.parallel(problem.sequences * problem.heads, [&](Index task, Arena& arena) {
    const Sequence sequence = problem.sequence(task / problem.heads);
    LinearHead<T, A, F, D, U, Z>(problem, feature, decay, update, denominator, sequence,
                                 task % problem.heads, arena)
        .run();
  });
}

}  // namespace weft::detail
