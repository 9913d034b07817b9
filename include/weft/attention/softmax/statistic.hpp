#pragma once

#include <weft/attention/softmax/row_pass.hpp>

/// Statistics of a row of logits, for normalizers that need one before the first weight.
///
/// A statistic is a plain struct with
///
///   Index size() const noexcept;                            numbers that it keeps per row
///   template <class T> void start(T* at) const noexcept;    those of a row without keys
///   template <class A, class T>
///   void add(const T* s, Index begin, Index end, Index j0, T top, T* at) const noexcept;
///
/// `add` takes in the logits s[begin, end) of keys j0 + begin, ... with the maximum `top`; hidden
/// ones, and those up to the next multiple of the vector, are kHidden.
namespace weft::detail {

/// acc = op(acc, x) over the vectors of visible logits; hidden ones count as zero.
template <class A, class T, class Op>
Vec<T, A> fold_visible(const T* s, Index begin, Index end, Op op) noexcept {
  using V = Vec<T, A>;
  const V zero(T(0)), hidden(kHidden<T>);
  V acc = zero;
  for (Index c = begin; c < end; c += kWidth<T, A>) {
    const V x = load<A>(s + c);
    acc = op(acc, xsimd::select(x <= hidden, zero, x));
  }
  return acc;
}

/// One number, which begins at zero.
struct OneNumber {
  Index size() const noexcept { return 1; }
  template <class T>
  void start(T* at) const noexcept {
    at[0] = T(0);
  }
};

/// at[0] = sum of squares.
struct SumOfSquares : OneNumber {
  template <class A, class T>
  void add(const T* s, Index begin, Index end, Index, T, T* at) const noexcept {
    const auto square = [](const auto& acc, const auto& x) { return mul_add(x, x, acc); };
    at[0] += sum_lanes(fold_visible<A>(s, begin, end, square));
  }
};

/// at[0] = largest magnitude, 0 when there is no key.
struct LargestMagnitude : OneNumber {
  template <class A, class T>
  void add(const T* s, Index begin, Index end, Index, T, T* at) const noexcept {
    const auto larger = [](const auto& acc, const auto& x) {
      return xsimd::max(acc, xsimd::abs(x));
    };
    at[0] = std::max(at[0], max_lanes(fold_visible<A>(s, begin, end, larger)));
  }
};

/// at[0] = a base near the maximum, at[1] = sum of 2^(s - base): what the online softmax carries.
struct SumOfPowers {
  Index size() const noexcept { return 2; }
  template <class T>
  void start(T* at) const noexcept {
    at[0] = kHidden<T>;
    at[1] = T(0);
  }
  template <class A, class T>
  void add(const T* s, Index begin, Index end, Index, T top, T* at) const noexcept {
    const RowState<T> state{at, at + 1, nullptr};
    if (top > at[0] + kRise<T>) rebase_row<T, A>(state, top, 0);
    at[1] += sum_powers<T, A>(s, begin, end, base_of(at[0]), [](const Vec<T, A>&, Index) {});
  }
};

}  // namespace weft::detail
