#pragma once

#include <weft/attention/linear/chunk.hpp>
#include <weft/attention/linear/decay.hpp>
#include <weft/attention/linear/problem.hpp>
#include <weft/core/math.hpp>
#include <weft/core/scratch.hpp>

#include <cmath>
#include <utility>

/// What a chunk or a token needs of its log decays: their sums B since the state was last scaled,
/// as long as they are in range, and the factors exp(B) and exp(-B).
///
/// run(t, n) says how many tokens from t on, up to n and at least one, keep their sums in range.
/// The sums of numbers per token go on over chunks; those of channels begin with every chunk, as
/// their rounding would grow with it (they are of the element type; the others are few, and
/// doubles).
namespace weft::detail {

/// NoDecay: nothing.
template <class T, class A, class D, DecayKind = D::kind>
class Decays {
 public:
  Decays(const D&, const Sequence&, Index, Index, Index, Arena&) noexcept {}
  Index run(Index, Index n) noexcept { return n; }
};

/// A number per token: B_i, and the factors of results (up) and of keys or, with the delta rule, of
/// values (down).
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
        row_(arena.take<T>(features)),
        sums_(arena.take<double>(most)) {}

  Index run(Index t, Index n) noexcept {
    double sum = carried_;
    Index i = 0;
    for (; i < n; ++i) {
      sum += log_at(t + i);
      if (!(std::abs(sum) <= double{kDecayRange<T>})) break;
      sums_[i] = sum;
      up[i] = static_cast<T>(sum);
    }
    std::fill(up + i, up + round_up(i, kWidth<T, A>), T(0));
    return std::max<Index>(i, 1);
  }

  /// The state lacks the decay of n more tokens, and whether it lacks any.
  void carry(Index n) noexcept { carried_ = sums_[n - 1]; }
  bool carries() const noexcept { return carried_ != 0; }

  /// The factor that the state lacks. Sums begin anew.
  T fold() noexcept { return static_cast<T>(std::exp(std::exchange(carried_, 0.0))); }

  /// Turns the sums of n tokens into factors.
  void exponentiate(Index n) noexcept {
    for (Index i = 0; i < n; i += kWidth<T, A>) {
      Vec<T, A> plus, minus;
      math::exp_both(load<A>(up + i), plus, minus);
      store<A>(up + i, plus);
      store<A>(down + i, minus);
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
  double* sums_;
  double carried_ = 0;
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

  /// q exp(B), k exp(-B), and into `read` (null: not wanted) k exp(B); rows of results are ld
  /// apart.
  void scale(Index n, const PaddedRows<T>& q, const PaddedRows<T>& k, T* q_to, T* k_to, T* read,
             Index ld) noexcept {
    for (Index i = 0; i < n; ++i) {
      T* sums = sums_ + i * ld_;
      for (Index f = 0; f < features_; f += kWidth<T, A>) {
        Vec<T, A> plus, minus;
        math::exp_both(load<A>(sums + f), plus, minus);
        const auto key = load<A>(k.rows + i * k.ld + f);
        store<A>(q_to + i * ld + f, load<A>(q.rows + i * q.ld + f) * plus);
        if (read != nullptr) store<A>(read + i * ld + f, key * plus);
        store<A>(k_to + i * ld + f, key * minus);
        if (i == n - 1) store<A>(sums + f, plus);
      }
    }
  }

  /// The logs of n tokens from t on will be read.
  void want(RowsAhead& ahead, Index t, Index n) const noexcept {
    if (n < 2) return;  // one row has no stride
    const Index element = sizeof(*log_at(t)), row = log_at(t + 1) - log_at(t);
    ahead.want(log_at(t), row * element, features_ * element, n);
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
    constexpr Index W = kWidth<T, A>;
    const auto* logs = log_at(t);
    T* sums = sums_ + i * ld_;
    const Vec<T, A> zero(T(0)), range(kDecayRange<T>);
    auto inside = zero <= range;
    for (Index f = 0; f < features_; f += W) {
      const Vec<T, A> log = f + W <= features_ ? load_as<T, A>(logs + f)
                                               : load_as_partial<T, A>(logs + f, features_ - f);
      const Vec<T, A> sum = i > 0 ? log + load<A>(sums - ld_ + f) : log;
      store<A>(sums + f, sum);
      inside = inside & (xsimd::abs(sum) <= range);
    }
    return xsimd::all(inside);
  }

  const D& decay_;
  const Sequence& seq_;
  Index head_, features_, ld_;
  T* sums_;
};

}  // namespace weft::detail
