#pragma once

#include <weft/core/tile_bf16.hpp>
#include <weft/core/transpose.hpp>

#include <array>

namespace weft::detail {

/// 2 W elements of storage S as two registers of T, in whatever order is cheapest to load: halves,
/// but of bf16 the even and the odd places, which takes one instruction each where halves take two.
/// Sums over elements do not mind, once both factors have that order.
template <class T, class A, class S>
struct RegisterPair {
  using V = Vec<T, A>;
  static constexpr Index W = kWidth<T, A>;

  [[gnu::always_inline]] static std::array<V, 2> load(const S* p) noexcept {
    return {load_as<T, A>(p), load_as<T, A>(p + W)};
  }
  /// Elements 0 .. 2 W of a row of T in that order.
  static std::array<V, 2> arrange(const T* row) noexcept {
    return {weft::load<A>(row), weft::load<A>(row + W)};
  }
  /// The halves again.
  [[gnu::always_inline]] static std::array<V, 2> halves(const V& a, const V& b) noexcept {
    return {a, b};
  }
};

template <class A>
struct RegisterPair<float, A, bf16> {
  using V = Vec<float, A>;
  static constexpr Index W = kWidth<float, A>;

  [[gnu::always_inline]] static std::array<V, 2> load(const bf16* p) noexcept {
    const V pairs = V::load_unaligned(reinterpret_cast<const float*>(p));
    return {first_of_pairs<A>(pairs), second_of_pairs<A>(pairs)};
  }
  static std::array<V, 2> arrange(const float* row) noexcept {
    alignas(64) float even[W], odd[W];
    for (Index i = 0; i < W; ++i) {
      even[i] = row[2 * i];
      odd[i] = row[2 * i + 1];
    }
    return {weft::load<A>(even), weft::load<A>(odd)};
  }
  [[gnu::always_inline]] static std::array<V, 2> halves(const V& even, const V& odd) noexcept {
    using I = Interleave<float, typename A::simd>;
    return {I::low(even, odd), I::high(even, odd)};
  }
};

}  // namespace weft::detail
