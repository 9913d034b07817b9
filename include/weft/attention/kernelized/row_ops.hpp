#pragma once

#include <weft/core/math.hpp>
#include <weft/core/reduce.hpp>
#include <weft/core/transpose.hpp>

#include <algorithm>
#include <limits>

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

/// Lanes whose sum is x . y over n channels.
template <class A, class T>
[[gnu::always_inline]] inline Vec<T, A> dot_lanes(const T* x, const T* y, Index n) noexcept {
  using V = Vec<T, A>;
  V sum(T(0));
  Index d = 0;
  for (; d + kWidth<T, A> <= n; d += kWidth<T, A>)
    sum = mul_add(load<A>(x + d), load<A>(y + d), sum);
  if (d < n) sum = mul_add(load_partial<A>(x + d, n - d), load_partial<A>(y + d, n - d), sum);
  return sum;
}

/// The dot products of q with as many rows as a register has lanes, key_at(0), key_at(1), ...
template <class A, class T, class KeyAt>
[[gnu::always_inline]] inline Vec<T, A> dot_rows(const T* q, Index n, KeyAt key_at) noexcept {
  Vec<T, A> rows[kWidth<T, A>];
  for (Index l = 0; l < kWidth<T, A>; ++l) rows[l] = dot_lanes<A>(q, key_at(l), n);
  return sum_rows(rows);
}

/// out = sum_j softmax_j(scale q . key_at(j)) value_at(j), j < count, 1 or more; `weights` is room
/// for `count` numbers, rounded up to registers.
template <class A, class T, class KeyAt, class ValueAt>
void attend_rows(const T* q, Index channels, T scale, Index count, KeyAt key_at, ValueAt value_at,
                 Index value_channels, T* weights, T* out) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  constexpr T kNone = -std::numeric_limits<T>::infinity();
  V top(kNone), sum(T(0));
  for (Index j = 0; j < count; j += W) {
    const V s =
        dot_rows<A>(q, channels, [&](Index l) { return key_at(std::min(j + l, count - 1)); });
    const V seen = xsimd::select(leading_lanes<A, T>(count - j), s * V(scale), V(kNone));
    top = xsimd::max(top, seen);
    store<A>(weights + j, seen);
  }
  const V largest(max_lanes(top));
  for (Index j = 0; j < count; j += W) {
    const V weight = math::exp(load<A>(weights + j) - largest);
    sum += weight;
    store<A>(weights + j, weight);
  }
  const T factor = T(1) / sum_lanes(sum);
  std::fill_n(out, value_channels, T(0));
  for (Index j = 0; j < count; ++j)
    add_scaled<A>(factor * weights[j], value_at(j), out, value_channels);
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
