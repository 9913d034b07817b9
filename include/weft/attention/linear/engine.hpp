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
///   chunks         matrix products over runs of at most 30 tokens (chunk.hpp); a run ends early
///                  where the decay since the state was scaled leaves the range of the element type
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
        factors_(arena.take<T>(kChunk)),
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
  static constexpr bool kScalesKeys = kByNumber && !U::reads_state;

  // --- Schedules

  void run_causal() {
    for (Index t = 0; t < seq_.queries;) {
      const Index n = run_of_chunk(t, std::min(kChunk, seq_.queries - t));
      if (n < kFewTokens || !run_chunk(t, n)) {
        decay_state();
        for (Index i = 0; i < n; ++i) run_token(t + i);
      }
      t += n;
    }
    decay_state();
  }

  /// How many tokens the next chunk has, up to n.
  Index run_of_chunk(Index t, Index n) noexcept {
    const Index in_range = decays_.run(t, n);
    if constexpr (kByNumber)
      if (in_range < n && decays_.carries()) {
        decay_state();
        return decays_.run(t, n);
      }
    return in_range;
  }

  /// Fewer tokens than these are cheaper one by one.
  static constexpr Index kFewTokens = 3;

  /// False where the state has not been touched, because a value is not finite.
  bool run_chunk(Index t, Index n) {
    if constexpr (kByNumber) decays_.exponentiate(n);
    PaddedRows<T> u = values_of(t, n);
    if (!U::reads_state && !chunk_.finite(n, u)) return false;
    want(t + n);
    PaddedRows<T> q = features_of(p_.q, false, t, n, q_);
    PaddedRows<T> k = features_of(p_.k, true, t, n, k_), read = k;
    if constexpr (kByChannel) {
      decays_.scale(n, q, k, q_, k_, read_, ld_);
      q = {q_, ld_};
      k = {k_, ld_};
      read = {read_, ld_};
    }
    chunk_.set_keys(n, k, kScalesKeys ? factors_down() : nullptr);
    if constexpr (U::reads_state)
      if (!chunk_.replace_values(n, read, state_.s, state_.ld)) return false;
    chunk_.score(n, q);
    if constexpr (Z::needed) sum_keys(n, q, k);
    attend(t, n, q, u);
    chunk_.write(n, u, state_.s, state_.ld);
    if constexpr (kByNumber) decays_.carry(n);
    if constexpr (kByChannel) state_.scale(decays_.last(n));
    return true;
  }

  const T* factors_down() const noexcept {
    if constexpr (kByNumber)
      return decays_.down;
    else
      return nullptr;
  }

  /// The results of a chunk, into the memory of the caller where that has whole register tiles.
  void attend(Index t, Index n, const PaddedRows<T>& q, const PaddedRows<T>& u) {
    set_factors(n, t + 1, 1);
    const bool whole = p_.out.in_place && n % kTileRows == 0;
    std::byte* out = p_.out.at(seq_.batch, head_, seq_.first + t);
    ScaledRows<T> to{chunk_.o, chunk_.value_ld, factors_};
    if (whole)
      to = {reinterpret_cast<T*>(out), p_.out.row / static_cast<Index>(sizeof(T)), factors_};
    chunk_.attend(n, q, u, state_.s, state_.ld, to);
    for (Index i = 0; !whole && i < n; ++i, out += p_.out.row)
      p_.out.store(chunk_.o + i * chunk_.value_ld, T(1), out, p_.value_dim);
  }

  void sum_keys(Index n, const PaddedRows<T>& q, const PaddedRows<T>& k) noexcept {
    const T* share = factors_down();
    chunk_.sum_scores(n, q, state_.z);
    for (Index i = 0; i < n; ++i)
      state_.add_key(k.rows + i * k.ld, share == nullptr ? T(1) : share[i]);
  }

  /// The decay that the state lacks since chunks began to carry it.
  void decay_state() noexcept {
    if constexpr (kByNumber)
      if (decays_.carries()) state_.scale(decays_.fold());
  }

  void run_token(Index t) {
    const PaddedRows<T> v = values_of(t, 1, false);
    const PaddedRows<T> q = features_of(p_.q, false, t, 1, q_);
    const PaddedRows<T> k = features_of(p_.k, true, t, 1, k_);
    TokenRows<T> token{q.rows, k.rows, v.rows, nullptr, T(1), chunk_.o};
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
      const PaddedRows<T> k = features_of(p_.k, true, j, n, k_);
      chunk_.set_keys(n, k);
      chunk_.write(n, values_of(j, n), state_.s, state_.ld);
      for (Index i = 0; Z::needed && i < n; ++i) state_.add_key(k.rows + i * k.ld, T(1));
    }
    for (Index t = 0; t < seq_.queries; t += kChunk) {
      const Index n = std::min(kChunk, seq_.queries - t);
      const PaddedRows<T> q = features_of(p_.q, false, t, n, q_);
      chunk_.product(n, q, state_.s, state_.ld);
      for (Index i = 0; Z::needed && i < n; ++i)
        chunk_.denominators[i] = state_.dot(q.rows + i * q.ld);
      store_outputs(t, n, seq_.keys, 0);
    }
  }

  // --- Rows in and out

  /// The rows of the chunk from token t on will be needed.
  void want(Index t) noexcept {
    chunk_.ahead.begin();
    if (t >= seq_.queries) return;
    const Index n = std::min(kChunk, seq_.queries - t), token = seq_.first + t;
    for (const InputRows<T>* x : {&p_.q, &p_.k, &p_.v})
      chunk_.ahead.want(x->at(seq_.batch, head_, token), x->row, x->row_bytes, n);
    if constexpr (kByChannel) decays_.want(chunk_.ahead, t, n);
    chunk_.ahead.want(p_.out.at(seq_.batch, head_, token), p_.out.row, p_.v.row_bytes, n);
  }

  /// Features of n tokens: in the memory of the caller where they are what the products want,
  /// otherwise in `to`.
  PaddedRows<T> features_of(const InputRows<T>& x, bool keys, Index t, Index n, T* to) {
    const Index token = seq_.first + t;
    if constexpr (std::is_same_v<F, Identity>) {
      if (x.in_place && (kByChannel || n % kTileRows == 0)) return in_place(x, token);
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

  PaddedRows<T> in_place(const InputRows<T>& x, Index token) const noexcept {
    return {reinterpret_cast<const T*>(x.at(seq_.batch, head_, token)),
            x.row / static_cast<Index>(sizeof(T))};
  }

  /// Values of n tokens by their weights; those of the delta rule, which will be replaced, in a
  /// chunk by exp(-B). In the memory of the caller where they are used as they are.
  PaddedRows<T> values_of(Index t, Index n, bool in_chunk = true) {
    const Index ld = chunk_.value_ld;
    if (!U::has_weight && p_.v.in_place) return in_place(p_.v, seq_.first + t);
    p_.v.read(seq_.batch, head_, seq_.first + t, n, p_.value_dim, ld, chunk_.v, ld);
    if constexpr (U::has_weight)
      for (Index i = 0; i < n; ++i) {
        chunk_.weights[i] =
            static_cast<T>(update_.weight_at(seq_.batch, head_, seq_.first + t + i));
        if constexpr (!U::reads_state) scale_row<T, A>(chunk_.v + i * ld, ld, chunk_.weights[i]);
        if constexpr (U::reads_state && kByNumber)
          if (in_chunk) scale_row<T, A>(chunk_.v + i * ld, ld, decays_.down[i]);
      }
    return {chunk_.v, ld};
  }

  /// Factors of the rows of results of n tokens: row i divides by the sum of `keys` + i `more`
  /// keys.
  void set_factors(Index n, Index keys, Index more, bool in_chunk = true) noexcept {
    for (Index i = 0; i < n; ++i) {
      T factor = static_cast<T>(p_.scale);
      if constexpr (kByNumber) factor *= in_chunk ? decays_.up[i] : T(1);
      if constexpr (Z::needed)
        factor *=
            denominator_.factor(factor * chunk_.denominators[i], p_.position + keys + i * more);
      factors_[i] = factor;
    }
  }

  void store_outputs(Index t, Index n, Index keys, Index more, bool in_chunk = true) noexcept {
    set_factors(n, keys, more, in_chunk);
    for (Index i = 0; i < n; ++i)
      p_.out.store(chunk_.o + i * chunk_.value_ld, factors_[i],
                   p_.out.at(seq_.batch, head_, seq_.first + t + i), p_.value_dim);
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
  T* factors_;  ///< of rows of results
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
