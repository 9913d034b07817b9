#pragma once

#include <weft/attention/linear/problem.hpp>
#include <weft/core/lanes.hpp>
#include <weft/core/scratch.hpp>

#include <algorithm>

namespace weft::detail {

/// State of one head while it is worked on: S [F, E], rows `ld` apart and of whole registers, and
/// the sum of keys z, of whole registers. S is the caller's where that has whole registers, else a
/// copy.
template <class T, class A>
class HeadState {
 public:
  HeadState(const LinearProblem<T>& p, const Sequence& sequence, Index head, bool sums,
            Arena& arena)
      : ld(round_up(p.value_dim, kWidth<T, A>)),
        features_(p.features),
        columns_(p.value_dim),
        padded_(round_up(p.features, kWidth<T, A>)) {
    const StateRows<T>& own = p.state;
    if (own.s != nullptr) own_s_ = own.s + sequence.index * own.s_sequence + head * own.s_head;
    if (sums && own.z != nullptr)
      own_z_ = own.z + sequence.index * own.z_sequence + head * own.z_head;
    own_ld_ = own.s_row;
    take_s(arena);
    if (!sums) return;
    z = arena.take<T>(padded_);
    std::fill_n(z, padded_, T(0));
    if (own_z_ != nullptr) std::copy_n(own_z_, features_, z);
  }

  void give_back() const noexcept {
    if (own_z_ != nullptr) std::copy_n(z, features_, own_z_);
    if (own_s_ != nullptr && own_s_ != s) copy_s(s, ld, own_s_, own_ld_);
  }

  void scale(T factor) noexcept {
    for (Index f = 0; f < features_; ++f) scale_row<T, A>(s + f * ld, padded_columns(), factor);
    if (z != nullptr) scale_row<T, A>(z, padded_, factor);
  }
  void scale(const T* factors) noexcept {
    for (Index f = 0; f < features_; ++f) scale_row<T, A>(s + f * ld, padded_columns(), factors[f]);
    if (z != nullptr) scale_sum(factors);
  }
  void scale_sum(const T* factors) noexcept {
    for (Index f = 0; f < features_; ++f) z[f] *= factors[f];
  }

  /// z += share k.
  void add_key(const T* k, T share) noexcept {
    const Vec<T, A> w(share);
    for (Index f = 0; f < features_; f += kWidth<T, A>)
      store<A>(z + f, mul_add(load<A>(k + f), w, load<A>(z + f)));
  }

  /// q . z
  T dot(const T* q) const noexcept {
    Vec<T, A> sum(T(0));
    for (Index f = 0; f < features_; f += kWidth<T, A>)
      sum = mul_add(load<A>(q + f), load<A>(z + f), sum);
    return sum_lanes(sum);
  }

  T* s = nullptr;
  Index ld;
  T* z = nullptr;  ///< null where no sums are kept

 private:
  Index padded_columns() const noexcept { return round_up(columns_, kWidth<T, A>); }

  void take_s(Arena& arena) {
    if (own_s_ != nullptr && columns_ == ld) {
      s = own_s_;
      ld = own_ld_;
      return;
    }
    s = arena.take<T>(features_ * ld);
    std::fill_n(s, features_ * ld, T(0));
    if (own_s_ != nullptr) copy_s(own_s_, own_ld_, s, ld);
  }

  void copy_s(const T* from, Index from_ld, T* to, Index to_ld) const noexcept {
    for (Index f = 0; f < features_; ++f) std::copy_n(from + f * from_ld, columns_, to + f * to_ld);
  }

  Index features_, columns_, padded_;
  T* own_s_ = nullptr;
  T* own_z_ = nullptr;
  Index own_ld_ = 0;
};

}  // namespace weft::detail
