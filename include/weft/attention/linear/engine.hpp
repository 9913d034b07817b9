#pragma once

#include <weft/attention/linear/chunk.hpp>
#include <weft/attention/linear/decay.hpp>
#include <weft/attention/linear/denominator.hpp>
#include <weft/attention/linear/feature.hpp>
#include <weft/attention/linear/problem.hpp>
#include <weft/attention/linear/token.hpp>
#include <weft/attention/linear/update.hpp>
#include <weft/core/executor.hpp>

/// The linear recurrence of one head, S <- diag(a) S + k u^T, o = S^T q, in three schedules:
///
///   chunks         matrix products over runs of at most 48 tokens (chunk.hpp); a run ends early
///                  where the decay since its start leaves the range of the element type
///   tokens         the recurrence itself (token.hpp): for one token, after a decay that alone
///                  leaves the range, and for tokens beside values that are not finite
///   bidirectional  S = sum over all keys, o = S^T q, for mixers without order, decay and delta
///
/// All of them agree up to rounding. So a strong decay costs speed, not accuracy: it needs no
/// exponent but of sums that are small, and log a = -infinity empties the state.
namespace weft::detail {

template <class T, class A, class F, class D, class U, class Z>
class LinearHead {
 public:
  LinearHead(const LinearProblem<T>& problem, const F& feature, const D& decay, const U& update,
             const Z& denominator, const Sequence& sequence, Index head, Arena& arena)
      : p_(problem),
        feature_(feature),
        decay_(decay),
        update_(update),
        denominator_(denominator),
        seq_(sequence),
        head_(head),
        arena_(arena),
        row_ld_(round_up(problem.dim, kWidth<T, A>)),
        rows_(arena.take<T>(kChunk * row_ld_)),
        chunk_(problem.features, problem.value_dim, U::reads_state, arena) {
    if (D::kind != DecayKind::none) decays_ = arena.take<T>(2 * kChunk * decay_ld());
    take_state();
  }

  void run() {
    if (p_.causal)
      run_causal();
    else
      run_bidirectional();
    give_back_state();
  }

 private:
  static constexpr bool kDecays = D::kind != DecayKind::none;
  static constexpr bool kPerChannel = D::kind == DecayKind::channels;

  Index decay_ld() const noexcept { return kPerChannel ? chunk_.feature_ld : 1; }

  // --- Schedules

  void run_causal() {
    for (Index t = 0; t < seq_.queries;) {
      const Index n = decayed_run(t, std::min(kChunk, seq_.queries - t));
      if (n < kFewTokens || !run_chunk(t, n))
        for (Index i = 0; i < n; ++i) run_token(t + i);
      t += n;
    }
  }

  /// Fewer tokens than these are cheaper one by one.
  static constexpr Index kFewTokens = 3;

  /// False where the state has not been touched, because a value is not finite.
  bool run_chunk(Index t, Index n) {
    load_values(t, n, chunk_.u);
    if (!U::reads_state && !chunk_.finite_updates(n)) return false;
    load_queries(t, n);
    load_keys(t, n);
    if constexpr (kDecays) apply_decay(n);
    if constexpr (U::reads_state) {
      if (!chunk_.attend_delta(n, s_, s_ld_)) return false;
    } else {
      chunk_.attend(n, s_, s_ld_, z_);
    }
    chunk_.write(n, s_, s_ld_, z_);
    if constexpr (kDecays) decay_state(n);
    store_outputs(t, n, t + 1, 1);
    return true;
  }

  void run_token(Index t) {
    load_values(t, 1, chunk_.u);
    load_queries(t, 1);
    map_rows(p_.k, p_.features, true, t, 1, chunk_.k);
    TokenRows<T> token{chunk_.q, chunk_.k, chunk_.u, nullptr, T(1), chunk_.o};
    if constexpr (U::reads_state) token.weight = weight_of(t);
    if constexpr (kDecays) token.decay = decay_of(t);
    advance_token<A, kDecays, U::reads_state>(p_.features, chunk_.value_ld, s_, s_ld_, token);
    if (Z::needed) *chunk_.denominators = advance_sum(token);
    store_outputs(t, 1, t + 1, 1);
  }

  void run_bidirectional() {
    for (Index j = 0; j < seq_.keys; j += kChunk) {
      const Index n = std::min(kChunk, seq_.keys - j);
      load_values(j, n, chunk_.u);
      load_keys(j, n);
      chunk_.transpose_keys(n);
      chunk_.write(n, s_, s_ld_, z_);
    }
    for (Index i = 0; i < seq_.queries; i += kChunk) {
      const Index n = std::min(kChunk, seq_.queries - i);
      load_queries(i, n);
      chunk_.product(n, p_.features, chunk_.q, chunk_.feature_ld, s_, s_ld_, chunk_.o, false);
      for (Index r = 0; Z::needed && r < n; ++r)
        chunk_.denominators[r] = dot(chunk_.q + r * chunk_.feature_ld, z_);
      store_outputs(i, n, seq_.keys, 0);
    }
  }

  // --- Rows in and out

  /// The rows of the chunk from token t on.
  void want(Index t) noexcept {
    chunk_.ahead.forget();
    if (t >= seq_.queries) return;
    const Index n = std::min(kChunk, seq_.queries - t), token = seq_.first + t;
    for (const InputRows<T>* x : {&p_.q, &p_.k, &p_.v})
      chunk_.ahead.want(x->at(seq_.batch, head_, token), x->row, x->row_bytes, n);
    chunk_.ahead.want(p_.out.at(seq_.batch, head_, token), p_.out.row, p_.v.row_bytes, n);
  }

  void load_queries(Index t, Index n) { map_rows(p_.q, p_.features, false, t, n, chunk_.q); }

  /// Keys, and behind the queries the keys once more if the update reads the state by them.
  void load_keys(Index t, Index n) {
    map_rows(p_.k, p_.features, true, t, n, chunk_.k);
    if constexpr (U::reads_state) std::copy_n(chunk_.k, n * chunk_.feature_ld, chunk_.second());
  }

  void map_rows(const InputRows<T>& from, Index features, bool keys, Index t, Index n, T* to) {
    const Index ld = chunk_.feature_ld, token = seq_.first + t;
    if constexpr (std::is_same_v<F, Identity>) {
      from.read(seq_.batch, head_, token, n, features, chunk_.padded_features, to, ld);
    } else {
      from.read(seq_.batch, head_, token, n, p_.dim, row_ld_, rows_, row_ld_);
      feature_.template map<A>(FeatureRows<T>{rows_, row_ld_, to, ld, n, p_.dim, seq_.batch, head_,
                                              token, p_.position + t, keys},
                               arena_);
      for (Index r = 0; r < n; ++r)
        std::fill(to + r * ld + features, to + r * ld + chunk_.padded_features, T(0));
    }
  }

  void load_values(Index t, Index n, T* to) {
    const Index ld = chunk_.value_ld;
    p_.v.read(seq_.batch, head_, seq_.first + t, n, p_.value_dim, ld, to, ld);
    if constexpr (U::has_weight) {
      for (Index r = 0; r < n; ++r) {
        chunk_.weights[r] = weight_of(t + r);
        if (!U::reads_state) scale(to + r * ld, ld, chunk_.weights[r]);
      }
    }
  }

  T weight_of(Index t) const noexcept {
    return static_cast<T>(update_.weight_at(seq_.batch, head_, seq_.first + t));
  }

  /// Row r divides by the sum of `keys` + r `more` keys.
  void store_outputs(Index t, Index n, Index keys, Index more) const noexcept {
    const T scale = static_cast<T>(p_.scale);
    for (Index r = 0; r < n; ++r) {
      T factor = scale;
      if constexpr (Z::needed)
        factor *=
            denominator_.factor(scale * chunk_.denominators[r], p_.position + keys + r * more);
      p_.out.store(chunk_.o + r * chunk_.value_ld, factor,
                   p_.out.at(seq_.batch, head_, seq_.first + t + r), p_.value_dim);
    }
  }

  // --- Decay

  /// Sums of log decays from token t on; the result is how many tokens, up to n and at least one,
  /// keep them in range.
  Index decayed_run(Index t, Index n) noexcept {
    if constexpr (D::kind == DecayKind::number) {
      double sum = 0;
      for (Index i = 0; i < n; ++i) {
        sum += decay_.log_at(seq_.batch, head_, seq_.first + t + i);
        if (!(std::abs(sum) <= double{kDecayRange<T>})) return std::max<Index>(i, 1);
        decays_[i] = static_cast<T>(sum);
      }
    } else if constexpr (kPerChannel) {
      for (Index i = 0; i < n; ++i)
        if (!add_log_row(t + i, i)) return std::max<Index>(i, 1);
    }
    return n;
  }

  /// Row i of sums is the row above it and log a of token t; whether it is in range.
  bool add_log_row(Index t, Index i) noexcept {
    const Index F_ = p_.features, ld = decay_ld();
    T* sums = decays_ + i * ld;
    convert_row<T, A>(decay_.row(seq_.batch, head_, seq_.first + t), sums, F_,
                      chunk_.padded_features);
    if (i > 0)
      for (Index f = 0; f < F_; f += kWidth<T, A>)
        store<A>(sums + f, load<A>(sums + f) + load<A>(sums - ld + f));
    const Vec<T, A> range(kDecayRange<T>);
    bool inside = true;
    for (Index f = 0; f < F_; f += kWidth<T, A>)
      inside &= xsimd::all(xsimd::abs(load<A>(sums + f)) <= range);
    return inside;
  }

  /// The sums become q~, k~ and k^; the first rows of `decays_` are then exp(B).
  void apply_decay(Index n) noexcept {
    const Index ld = chunk_.feature_ld;
    T* up = decays_;
    T* down = decays_ + kChunk * decay_ld();
    if constexpr (!kPerChannel) exponentials(n, up, down);
    for (Index r = 0; r < n; ++r) {
      if constexpr (kPerChannel) exponentials(chunk_.padded_features, up + r * ld, down + r * ld);
      times(chunk_.q + r * ld, up, r);
      if constexpr (U::reads_state) times(chunk_.second() + r * ld, up, r);
      times(chunk_.k + r * ld, down, r);
    }
  }

  /// up = exp(b), down = exp(-b) of n sums b in `up`, and of what follows up to a whole vector.
  static void exponentials(Index n, T* up, T* down) noexcept {
    for (Index i = 0; i < n; i += kWidth<T, A>) {
      const auto b = load<A>(up + i);
      store<A>(up + i, math::exp(b));
      store<A>(down + i, math::exp(-b));
    }
  }

  /// Features times row r of factors.
  void times(T* row, const T* factors, Index r) const noexcept {
    if constexpr (!kPerChannel) {
      scale(row, chunk_.padded_features, factors[r]);
    } else {
      factors += r * chunk_.feature_ld;
      for (Index f = 0; f < chunk_.padded_features; f += kWidth<T, A>)
        store<A>(row + f, load<A>(row + f) * load<A>(factors + f));
    }
  }

  /// S and z times exp(B) of the last of n tokens.
  void decay_state(Index n) noexcept {
    const T* last = decays_ + (n - 1) * decay_ld();
    for (Index f = 0; f < p_.features; ++f)
      scale(s_ + f * s_ld_, chunk_.value_ld, kPerChannel ? last[f] : *last);
    if (z_ != nullptr) times(z_, last, 0);
  }

  /// The factors of a single token, one per feature.
  const T* decay_of(Index t) noexcept {
    T* to = decays_ + kChunk * decay_ld();
    if constexpr (kPerChannel) {
      convert_row<T, A>(decay_.row(seq_.batch, head_, seq_.first + t), to, p_.features,
                        chunk_.padded_features);
      for (Index f = 0; f < p_.features; f += kWidth<T, A>)
        store<A>(to + f, math::exp(load<A>(to + f)));
    } else {
      to = rows_of_factors_;
      std::fill_n(to, p_.features,
                  std::exp(static_cast<T>(decay_.log_at(seq_.batch, head_, seq_.first + t))));
    }
    return to;
  }

  // --- State

  void take_state() {
    const Index padded = chunk_.value_ld;
    if (kDecays && !kPerChannel) rows_of_factors_ = arena_.take<T>(p_.features);
    if (Z::needed) {
      z_ = arena_.take<T>(chunk_.feature_ld);
      std::fill_n(z_, chunk_.feature_ld, T(0));
      if (own_z() != nullptr) std::copy_n(own_z(), p_.features, z_);
    }
    if (own_s() != nullptr && p_.value_dim == padded) {
      s_ = own_s();
      s_ld_ = p_.state.s_row;
      return;
    }
    s_ = arena_.take<T>(p_.features * padded);
    s_ld_ = padded;
    std::fill_n(s_, p_.features * padded, T(0));
    if (own_s() == nullptr) return;
    for (Index f = 0; f < p_.features; ++f)
      std::copy_n(own_s() + f * p_.state.s_row, p_.value_dim, s_ + f * padded);
  }

  void give_back_state() const noexcept {
    if (own_z() != nullptr) std::copy_n(z_, p_.features, own_z());
    if (own_s() == nullptr || own_s() == s_) return;
    for (Index f = 0; f < p_.features; ++f)
      std::copy_n(s_ + f * s_ld_, p_.value_dim, own_s() + f * p_.state.s_row);
  }

  T* own_s() const noexcept {
    const StateRows<T>& state = p_.state;
    return state.s == nullptr ? nullptr
                              : state.s + seq_.index * state.s_sequence + head_ * state.s_head;
  }
  T* own_z() const noexcept {
    const StateRows<T>& state = p_.state;
    return !Z::needed || state.z == nullptr
               ? nullptr
               : state.z + seq_.index * state.z_sequence + head_ * state.z_head;
  }

  /// z <- a z + k; the result is q . z.
  T advance_sum(const TokenRows<T>& token) noexcept {
    for (Index f = 0; f < p_.features; ++f)
      z_[f] = (kDecays ? z_[f] * token.decay[f] : z_[f]) + token.k[f];
    return dot(token.q, z_);
  }

  T dot(const T* a, const T* b) const noexcept {
    Vec<T, A> sum(T(0));
    for (Index f = 0; f < p_.features; f += kWidth<T, A>)
      sum = mul_add(load<A>(a + f), load<A>(b + f), sum);
    return sum_lanes(sum);
  }

  static void scale(T* row, Index n, T factor) noexcept {
    const Vec<T, A> f(factor);
    for (Index e = 0; e < n; e += kWidth<T, A>) store<A>(row + e, load<A>(row + e) * f);
  }

  const LinearProblem<T>& p_;
  const F& feature_;
  const D& decay_;
  const U& update_;
  const Z& denominator_;
  Sequence seq_;
  Index head_;
  Arena& arena_;
  Index row_ld_;
  T* rows_;  ///< channels on their way to features
  Chunk<T, A> chunk_;
  T* decays_ = nullptr;  ///< sums of logs of kChunk tokens and room for as many factors
  T* rows_of_factors_ = nullptr;
  T* s_ = nullptr;
  Index s_ld_ = 0;
  T* z_ = nullptr;
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
