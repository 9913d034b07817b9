#pragma once

#include <weft/attention/kernelized/bit_codes.hpp>
#include <weft/core/arguments.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/row_access.hpp>

namespace weft {

/// Linear attention of binary codes (EcoFormer: Energy-Saving Attention with Linear Complexity,
/// arXiv:2209.09004), with h_i . h_j = R - 2 popcount(code_i xor code_j) and a bias b that keeps
/// weights positive:
///
///   out_i = (sum_j (h_i . h_j) v_j + b sum_j v_j) / (sum_j h_i . h_j + M b)
///
/// By additions alone. Four bits at a time say which of 16 buckets the value of a key is added to,
/// and the signed sums of four bits for each of their 16 patterns, made of the buckets once, are
/// what a query adds up: R / 4 additions of a row of values per key and per query, where
/// multiplication by signs would take R. Sums of weights are exact integers.
///
///   const KernelHash<float> hash(a, anchors, mean);            one projection for queries and keys
///   const BitCodes codes = hash(qk);
///   forward(EcoFormer{}, codes, codes, v, out);
///
/// v [B, H, M, E], out [B, H, N, E], 1 in the last stride. The published code uses b v_i, the
/// query's own value, in place of b sum_j v_j, which looks like a slip: own_value does the same and
/// needs N = M. No causal form, because sigma of the hash sees all tokens. Throws where shapes
/// disagree or b is negative. Time (N + M) E R / 4 additions per head; scratch 32 R E / 4 numbers.
struct EcoFormer {
  double bias = 0;  ///< b; 0: R + 1
  bool own_value = false;
};

namespace detail {

/// Sums of one head. Group g are the bits 4 g .. 4 g + 3 of a code.
template <class T, class A>
class CodeSums {
 public:
  CodeSums(Index bits, Index value_dim, Arena& arena)
      : bits_(bits),
        groups_(ceil_div(bits, kBits)),
        ld_(round_up(value_dim, kWidth<T, A>)),
        rows_(arena.take<T>(groups_ * kPatterns * ld_)),
        counts_(arena.take<Index>(groups_ * kPatterns)),
        signed_(arena.take<T>(kBits * ld_)) {
    std::fill_n(rows_, groups_ * kPatterns * ld_, T(0));
    std::fill_n(counts_, groups_ * kPatterns, Index{0});
  }

  Index ld() const noexcept { return ld_; }

  /// A key: its value joins a bucket of each group.
  void add(const BitCodes::Word* code, const T* value) noexcept {
    for (Index g = 0; g < groups_; ++g) {
      const Index at = g * kPatterns + pattern(code, g);
      ++counts_[at];
      T* bucket = rows_ + at * ld_;
      for (Index e = 0; e < ld_; e += kWidth<T, A>)
        store<A>(bucket + e, load<A>(bucket + e) + load<A>(value + e));
    }
  }

  /// Buckets become, for each pattern of four bits, the sum of what its signs select; `bias` times
  /// the sum of all values joins those of the first group.
  void finish(T bias, T* all_values) noexcept {
    std::fill_n(all_values, ld_, T(0));
    for (Index p = 0; p < kPatterns; ++p) accumulate(T(1), rows_ + p * ld_, all_values);
    for (Index g = 0; g < groups_; ++g) {
      finish_counts(g);
      finish_rows(g);
    }
    for (Index p = 0; p < kPatterns; ++p) accumulate(bias, all_values, rows_ + p * ld_);
  }

  /// A query: the sum of weighted values; the result is the sum of h . h_j.
  Index read(const BitCodes::Word* code, T* to) const noexcept {
    Index weight = 0;
    std::fill_n(to, ld_, T(0));
    for (Index g = 0; g < groups_; ++g) {
      const Index at = g * kPatterns + pattern(code, g);
      weight += counts_[at];
      const T* row = rows_ + at * ld_;
      for (Index e = 0; e < ld_; e += kWidth<T, A>)
        store<A>(to + e, load<A>(to + e) + load<A>(row + e));
    }
    return weight;
  }

 private:
  static constexpr Index kBits = 4, kPatterns = 16;

  static Index pattern(const BitCodes::Word* code, Index group) noexcept {
    constexpr Index per_word = BitCodes::kWord / kBits;
    return static_cast<Index>(code[group / per_word] >> (group % per_word * kBits) & 15);
  }
  static bool is_set(Index p, Index bit) noexcept { return (p >> bit & 1) != 0; }

  void accumulate(T factor, const T* x, T* to) const noexcept {
    const Vec<T, A> f(factor);
    for (Index e = 0; e < ld_; e += kWidth<T, A>)
      store<A>(to + e, mul_add(f, load<A>(x + e), load<A>(to + e)));
  }

  /// Bits of a group; the last may have fewer than four.
  Index bits_of(Index g) const noexcept { return std::min(kBits, bits_ - g * kBits); }

  void finish_counts(Index g) noexcept {
    Index* counts = counts_ + g * kPatterns;
    Index sums[kBits] = {};
    for (Index bit = 0; bit < bits_of(g); ++bit)
      for (Index p = 0; p < kPatterns; ++p) sums[bit] += is_set(p, bit) ? counts[p] : -counts[p];
    for (Index p = 0; p < kPatterns; ++p) {
      counts[p] = 0;
      for (Index bit = 0; bit < bits_of(g); ++bit)
        counts[p] += is_set(p, bit) ? sums[bit] : -sums[bit];
    }
  }

  void finish_rows(Index g) noexcept {
    T* rows = rows_ + g * kPatterns * ld_;
    std::fill_n(signed_, kBits * ld_, T(0));
    for (Index bit = 0; bit < bits_of(g); ++bit)
      for (Index p = 0; p < kPatterns; ++p)
        accumulate(is_set(p, bit) ? T(1) : T(-1), rows + p * ld_, signed_ + bit * ld_);
    std::fill_n(rows, kPatterns * ld_, T(0));
    for (Index p = 0; p < kPatterns; ++p)
      for (Index bit = 0; bit < bits_of(g); ++bit)
        accumulate(is_set(p, bit) ? T(1) : T(-1), signed_ + bit * ld_, rows + p * ld_);
  }

  Index bits_, groups_, ld_;
  T* rows_;        ///< [groups, patterns, ld]
  Index* counts_;  ///< keys, then sums of signs, of each pattern
  T* signed_;
};

template <class T, class S, class O>
void check_ecoformer(const EcoFormer& mixer, const BitCodes& q, const BitCodes& k,
                     const View<const S, 4>& v, const View<O, 4>& out) {
  require_channels(v, "v");
  require_channels(out, "out");
  const std::array<Index, 4> values{k.batch(), k.heads(), k.tokens(), out.extent(3)};
  require(v.shape() == values, "EcoFormer: v is ", v, ", the codes of keys are [", k.batch(), ", ",
          k.heads(), ", ", k.tokens(), "] and out has ", out.extent(3), " channels");
  const std::array<Index, 4> results{q.batch(), q.heads(), q.tokens(), out.extent(3)};
  require(out.shape() == results && q.batch() == k.batch() && q.heads() == k.heads(),
          "EcoFormer: out is ", out, ", the codes of queries are [", q.batch(), ", ", q.heads(),
          ", ", q.tokens(), "]");
  require(q.bits() == k.bits(), "EcoFormer: codes of queries have ", q.bits(), " bits, of keys ",
          k.bits());
  require(mixer.bias >= 0 && mixer.bias < 1e30, "EcoFormer: bias is ", mixer.bias,
          ", must be 0 or more");
  require(!mixer.own_value || q.tokens() == k.tokens(),
          "EcoFormer: own_value needs as many queries as keys");
}

}  // namespace detail

template <class A = DefaultArch, ViewLike<4> V, ViewLike<4> O>
void forward(const EcoFormer& mixer, const BitCodes& q, const BitCodes& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using S = detail::Element<const V>;
  using T = Accumulator<S>;
  const View<const S, 4> values = view_of(v);
  const auto to = view_of(out);
  detail::check_ecoformer<T>(mixer, q, k, values, to);
  const Index E = values.extent(3), N = q.tokens(), M = k.tokens();
  const double b = mixer.bias != 0 ? mixer.bias : static_cast<double>(q.bits() + 1);
  const auto from = detail::input_rows<T, A>(values, 1);
  const auto result = detail::output_rows<T, A>(to);
  ctx.parallel(q.batch() * q.heads(), [&](Index task, Arena& arena) {
    const Index batch = task / q.heads(), h = task % q.heads();
    detail::CodeSums<T, A> sums(q.bits(), E, arena);
    T* row = arena.take<T>(sums.ld());
    T* own = arena.take<T>(sums.ld());
    for (Index j = 0; j < M; ++j) {
      from.read(batch, h, j, 1, E, sums.ld(), row, sums.ld());
      sums.add(k.code(batch, h, j), row);
    }
    sums.finish(mixer.own_value ? T(0) : static_cast<T>(b), own);
    for (Index i = 0; i < N; ++i) {
      const double weight = static_cast<double>(sums.read(q.code(batch, h, i), row));
      if (mixer.own_value) {
        from.read(batch, h, i, 1, E, sums.ld(), own, sums.ld());
        for (Index e = 0; e < E; ++e) row[e] += static_cast<T>(b) * own[e];
      }
      const double den = weight + static_cast<double>(M) * b;
      result.store(row, M == 0 ? T(0) : static_cast<T>(1 / den), result.at(batch, h, i), E);
    }
  });
}

}  // namespace weft
