#pragma once

#include <weft/core/lanes.hpp>

/// Operations on rows of channels that are too few for a matrix product.
namespace weft::detail {

/// y += factor x over n channels.
template <class A, class T>
void add_scaled(T factor, const T* x, T* y, Index n) noexcept {
  const Vec<T, A> f(factor);
  Index e = 0;
  for (; e + kWidth<T, A> <= n; e += kWidth<T, A>)
    store<A>(y + e, mul_add(f, load<A>(x + e), load<A>(y + e)));
  if (e < n)
    store_partial<A>(
        y + e, mul_add(f, load_partial<A>(x + e, n - e), load_partial<A>(y + e, n - e)), n - e);
}

/// x . y over n channels.
template <class A, class T>
T dot_rows(const T* x, const T* y, Index n) noexcept {
  using V = Vec<T, A>;
  V sum(T(0));
  Index d = 0;
  for (; d + kWidth<T, A> <= n; d += kWidth<T, A>)
    sum = mul_add(load<A>(x + d), load<A>(y + d), sum);
  if (d < n) sum = mul_add(load_partial<A>(x + d, n - d), load_partial<A>(y + d, n - d), sum);
  return sum_lanes(sum);
}

/// to = max(x, y) over n channels; to may be either.
template <class A, class T>
void max_rows(const T* x, const T* y, T* to, Index n) noexcept {
  for (Index d = 0; d < n; d += kWidth<T, A>) {
    const Index lanes = std::min(kWidth<T, A>, n - d);
    store_partial<A>(
        to + d, xsimd::max(load_partial<A>(x + d, lanes), load_partial<A>(y + d, lanes)), lanes);
  }
}

}  // namespace weft::detail
