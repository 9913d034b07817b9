#pragma once

#include <weft/attention/linear/chunk.hpp>
#include <weft/attention/linear/decay.hpp>
#include <weft/attention/linear/problem.hpp>
#include <weft/core/math.hpp>
#include <weft/core/scratch.hpp>

#include <cmath>

/// What a chunk or a token needs of its log decays: their sums B from the start of the chunk, as
/// long as they are in range, and the factors exp(B) and exp(-B).
namespace weft::detail {

/// NoDecay: nothing.
template <class T, class A, class D, DecayKind = D::kind>
class Decays {
 public:
  Decays(const D&, const Sequence&, Index, Index, Index, Arena&) noexcept {}
  Index run(Index, Index n) noexcept { return n; }
};

/// A number per token: B_i, and the factors of rows of v (down) and of results (up).
template <class T, class A, class D>
class Decays<T, A, D, DecayKind::number> {
 public:
  Decays(const D& decay, const Sequence& sequence, Index head, Index features, Index most,
         Arena& arena)
      : up(arena.take<T>(round_up(most, kWidth<T, A>))),
        down(arena.take<T>(round_up(most, kWidth<T, A>))),
        decay_(decay),
        seq_(sequence),
        head_(head),
        features_(features),
        row_(arena.take<T>(features)) {}

  /// How many tokens from t on, up to n and at least one, keep their sums within the range.
  Index run(Index t, Index n) noexcept {
    double sum = 0;
    Index i = 0;
    for (; i < n; ++i) {
      sum += log_at(t + i);
      if (!(std::abs(sum) <= double{kDecayRange<T>})) break;
      up[i] = static_cast<T>(sum);
    }
    std::fill(up + i, up + round_up(i, kWidth<T, A>), T(0));
    return std::max<Index>(i, 1);
  }

  /// Turns the sums of n tokens into factors.
  void exponentiate(Index n) noexcept {
    for (Index i = 0; i < n; i += kWidth<T, A>) {
      const auto sum = load<A>(up + i);
      store<A>(up + i, math::exp(sum));
      store<A>(down + i, math::exp(-sum));
    }
  }

  /// The factors of all features at token t.
  const T* row(Index t) noexcept {
    std::fill_n(row_, features_, std::exp(static_cast<T>(log_at(t))));
    return row_;
  }

  T* up;
  T* down;

 private:
  double log_at(Index t) const noexcept { return decay_.log_at(seq_.batch, head_, seq_.first + t); }

  const D& decay_;
  const Sequence& seq_;
  Index head_, features_;
  T* row_;
};

/// A number per token and feature.
template <class T, class A, class D>
class Decays<T, A, D, DecayKind::channels> {
 public:
  Decays(const D& decay, const Sequence& sequence, Index head, Index features, Index most,
         Arena& arena)
      : decay_(decay),
        seq_(sequence),
        head_(head),
        features_(features),
        ld_(round_up(features, kWidth<T, A>)),
        sums_(arena.take<T>(most * ld_)) {}

  Index run(Index t, Index n) noexcept {
    for (Index i = 0; i < n; ++i)
      if (!add_row(t + i, i)) return std::max<Index>(i, 1);
    return n;
  }

  /// q exp(B), k exp(-B), and into `read` (null: not wanted) k exp(B); rows of all are ld apart.
  void scale(Index n, T* q, T* k, T* read, Index ld) noexcept {
    for (Index i = 0; i < n; ++i, q += ld, k += ld) {
      T* sums = sums_ + i * ld_;
      for (Index f = 0; f < features_; f += kWidth<T, A>) {
        const auto sum = load<A>(sums + f), up = math::exp(sum), key = load<A>(k + f);
        store<A>(q + f, load<A>(q + f) * up);
        if (read != nullptr) store<A>(read + i * ld + f, key * up);
        store<A>(k + f, key * math::exp(-sum));
        if (i == n - 1) store<A>(sums + f, up);
      }
    }
  }

  /// exp(B) of the last of n tokens, after scale.
  const T* last(Index n) const noexcept { return sums_ + (n - 1) * ld_; }

  /// The factors of all features at token t.
  const T* row(Index t) noexcept {
    convert_row<T, A>(log_at(t), sums_, features_, ld_);
    for (Index f = 0; f < features_; f += kWidth<T, A>)
      store<A>(sums_ + f, math::exp(load<A>(sums_ + f)));
    return sums_;
  }

 private:
  auto log_at(Index t) const noexcept { return decay_.row(seq_.batch, head_, seq_.first + t); }

  /// Row i of the sums: the row above it and the logs of token t; whether all are in range.
  bool add_row(Index t, Index i) noexcept {
    T* sums = sums_ + i * ld_;
    convert_row<T, A>(log_at(t), sums, features_, ld_);
    const Vec<T, A> range(kDecayRange<T>);
    bool inside = true;
    for (Index f = 0; f < features_; f += kWidth<T, A>) {
      auto sum = load<A>(sums + f);
      if (i > 0) store<A>(sums + f, sum = sum + load<A>(sums - ld_ + f));
      inside &= xsimd::all(xsimd::abs(sum) <= range);
    }
    return inside;
  }

  const D& decay_;
  const Sequence& seq_;
  Index head_, features_, ld_;
  T* sums_;
};

}  // namespace weft::detail
