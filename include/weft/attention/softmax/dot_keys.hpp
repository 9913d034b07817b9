#pragma once

#include <weft/attention/softmax/kv_rows.hpp>
#include <weft/core/transpose.hpp>

#include <algorithm>

/// Logits without packing: dot products of a query with W keys side by side, and one reduction for
/// all of them.
namespace weft::detail {

/// s[c] = q . k_c for W keys; keys beyond `count` repeat the last one.
template <class T, class A>
Vec<T, A> dot_keys(const T* q, Index dim, const RowsOf<T>& keys, Index first,
                   Index count) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  V sums[W];
  const T* rows[W];
#pragma GCC unroll 16
  for (Index c = 0; c < W; ++c) {
    sums[c] = V(T(0));
    rows[c] = keys.at + (first + std::min(c, count - 1)) * keys.step;
  }
  Index d = 0;
  for (; d + W <= dim; d += W) {
    const V x = load<A>(q + d);
#pragma GCC unroll 16
    for (Index c = 0; c < W; ++c) sums[c] = mul_add(x, load<A>(rows[c] + d), sums[c]);
  }
  if (d < dim) {
    const V x = load<A>(q + d);  // zero beyond dim
#pragma GCC unroll 16
    for (Index c = 0; c < W; ++c)
      sums[c] = mul_add(x, load_partial<A>(rows[c] + d, dim - d), sums[c]);
  }
  return sum_rows<static_cast<int>(W)>(sums);
}

}  // namespace weft::detail
