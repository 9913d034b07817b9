#pragma once

#include <weft/attention/linear/feature.hpp>
#include <weft/attention/linear/problem.hpp>
#include <weft/core/reduce.hpp>
#include <weft/core/scratch.hpp>

/// The scalars of Flow-Attention, one per token, in passes over the features of one head before the
/// linear engine runs. Equations in flow.hpp.
namespace weft::detail {

/// What the causal pass carries between tokens: sums of k, q, k O and q I [D each], of exp(O^), and
/// how many tokens they have seen.
template <class T>
struct FlowSums {
  T *keys, *queries, *outgoing, *incoming;
  double* competition;
  Index tokens;
};

/// Where the scalars of one head go: a_i I_i (over n_i if causal) [N] and c_j [M].
template <class T>
struct FlowScalars {
  T *query_factor, *value_weight;
};

template <class T, class A, class F>
class FlowHead {
 public:
  FlowHead(const LinearProblem<T>& p, const F& f, double clamp, double eps, Index batch, Index head,
           Arena& arena)
      : p_(p),
        f_(f),
        clamp_(static_cast<T>(clamp)),
        batch_(batch),
        head_(head),
        arena_(arena),
        ld_(round_up(p.features, kWidth<T, A>)),
        row_ld_(round_up(p.dim, kWidth<T, A>)),
        rows_(arena.take<T>(kRows * row_ld_)),
        q_(arena.take<T>(kRows * ld_)),
        k_(arena.take<T>(kRows * ld_)),
        eps_(arena.take<T>(ld_)) {
    std::fill_n(eps_, ld_, T(0));
    std::fill_n(eps_, p.features, static_cast<T>(eps));
  }

  /// Tokens one after the other; see flow.hpp.
  void causal(FlowSums<T> sums, FlowScalars<T> out) {
    double n = static_cast<double>(sums.tokens);
    for (Index t = 0; t < p_.queries; t += kRows) {
      const Index count = std::min(kRows, p_.queries - t);
      load(p_.q, false, t, count, q_);
      load(p_.k, true, t, count, k_);
      for (Index r = 0; r < count; ++r) {
        const T tokens = static_cast<T>(n += 1);
        const T* q = q_ + r * ld_;
        const T* k = k_ + r * ld_;
        const Pair flow = advance(q, T(1), k, T(1), sums.queries, sums.keys);
        const T incoming = tokens / flow.q, outgoing = tokens / flow.k;
        const Pair kept = advance(q, incoming, k, outgoing, sums.incoming, sums.outgoing);
        out.query_factor[t + r] = sigmoid(kept.q / tokens) * incoming / tokens;
        const double e = std::exp(static_cast<double>(clamped(kept.k / tokens)));
        *sums.competition += e;
        out.value_weight[t + r] = static_cast<T>(e / *sums.competition * n);
      }
    }
  }

  /// The same from an empty state.
  void causal(FlowScalars<T> out) {
    double competition = 0;
    T* keys = zeros();
    T* queries = zeros();
    T* outgoing = zeros();
    causal({keys, queries, outgoing, zeros(), &competition, 0}, out);
  }

  /// All tokens at once.
  void bidirectional(FlowScalars<T> out) {
    T* queries = zeros();
    T* keys = zeros();
    T* incoming = zeros();
    T* outgoing = zeros();
    for_rows(p_.q, false, p_.queries, [&](const T* x, Index) { add(T(1), x, queries); });
    for_rows(p_.k, true, p_.keys, [&](const T* x, Index) { add(T(1), x, keys); });
    for_rows(p_.q, false, p_.queries, [&](const T* x, Index i) {
      out.query_factor[i] = 1 / flow(x, keys);
      add(out.query_factor[i], x, incoming);
    });
    for_rows(p_.k, true, p_.keys,
             [&](const T* x, Index) { add(1 / flow(x, queries), x, outgoing); });
    const T ratio = static_cast<T>(static_cast<double>(p_.queries) / static_cast<double>(p_.keys));
    for_rows(p_.q, false, p_.queries, [&](const T* x, Index i) {
      out.query_factor[i] *= sigmoid(flow(x, outgoing) * ratio);
    });
    for_rows(p_.k, true, p_.keys,
             [&](const T* x, Index j) { out.value_weight[j] = clamped(flow(x, incoming)); });
    compete(out.value_weight);
  }

 private:
  static constexpr Index kRows = 48;
  struct Pair {
    T q, k;
  };

  T* zeros() {
    T* sums = arena_.take<T>(ld_);
    std::fill_n(sums, ld_, T(0));
    return sums;
  }

  /// Features of n tokens, zeros behind the last.
  void load(const InputRows<T>& from, bool keys, Index t, Index n, T* to) {
    from.read(batch_, head_, t, n, p_.dim, row_ld_, rows_, row_ld_);
    detail::map_features<A>(
        f_,
        FeatureRows<T>{rows_, row_ld_, to, ld_, n, p_.dim, batch_, head_, t, p_.position + t, keys},
        arena_);
    for (Index r = 0; r < n; ++r) std::fill(to + r * ld_ + p_.features, to + (r + 1) * ld_, T(0));
  }

  template <class Body>
  void for_rows(const InputRows<T>& from, bool keys, Index tokens, Body body) {
    for (Index t = 0; t < tokens; t += kRows) {
      const Index n = std::min(kRows, tokens - t);
      load(from, keys, t, n, q_);
      for (Index r = 0; r < n; ++r) body(q_ + r * ld_, t + r);
    }
  }

  /// to += factor x.
  void add(T factor, const T* x, T* to) const noexcept {
    const Vec<T, A> f(factor);
    for (Index d = 0; d < ld_; d += kWidth<T, A>)
      store<A>(to + d, mul_add(f, load_row(x + d), load_row(to + d)));
  }

  /// (x + eps) . (sum + eps).
  T flow(const T* x, const T* sum) const noexcept {
    Vec<T, A> total(T(0));
    for (Index d = 0; d < ld_; d += kWidth<T, A>) {
      const auto e = load_row(eps_ + d);
      total = mul_add(load_row(x + d) + e, load_row(sum + d) + e, total);
    }
    return sum_lanes(total);
  }

  /// q_sum += q_factor q, k_sum += k_factor k; then the flows of q with the sum of keys and of k
  /// with the sum of queries.
  Pair advance(const T* q, T q_factor, const T* k, T k_factor, T* q_sum, T* k_sum) const noexcept {
    using V = Vec<T, A>;
    const V fq(q_factor), fk(k_factor);
    V of_q(T(0)), of_k(T(0));
    for (Index d = 0; d < ld_; d += kWidth<T, A>) {
      const V e = load_row(eps_ + d), x = load_row(q + d), y = load_row(k + d);
      const V xs = mul_add(fq, x, load_row(q_sum + d)), ys = mul_add(fk, y, load_row(k_sum + d));
      store<A>(q_sum + d, xs);
      store<A>(k_sum + d, ys);
      of_q = mul_add(x + e, ys + e, of_q);
      of_k = mul_add(y + e, xs + e, of_k);
    }
    return {sum_lanes(of_q), sum_lanes(of_k)};
  }

  static Vec<T, A> load_row(const T* x) noexcept { return weft::load<A>(x); }
  static T sigmoid(T x) noexcept { return 1 / (1 + std::exp(-x)); }
  T clamped(T x) const noexcept { return x < -clamp_ ? -clamp_ : x > clamp_ ? clamp_ : x; }

  /// Softmax over all keys times their number.
  void compete(T* c) const noexcept {
    const T top = row_max<A>(c, p_.keys);
    double sum = 0;
    for (Index j = 0; j < p_.keys; j += kWidth<T, A>) {
      const Index lanes = std::min(kWidth<T, A>, p_.keys - j);
      const auto e = math::exp(load_partial<A>(c + j, lanes) - Vec<T, A>(top));
      store_partial<A>(c + j, e, lanes);
    }
    for (Index j = 0; j < p_.keys; j += kRows)
      sum += static_cast<double>(row_sum<A>(c + j, std::min(kRows, p_.keys - j)));
    times_row<A>(static_cast<T>(static_cast<double>(p_.keys) / sum), c, p_.keys, c);
  }

  const LinearProblem<T>& p_;
  const F& f_;
  T clamp_;
  Index batch_, head_;
  Arena& arena_;
  Index ld_, row_ld_;
  T *rows_, *q_, *k_;
  T* eps_;  ///< eps for every feature, zeros behind
};

}  // namespace weft::detail
