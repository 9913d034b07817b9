#pragma once

#include <weft/core/simd.hpp>

#include <algorithm>

/// Where the policies of softmax attention are asked: one row of logits, or one tile of them.
namespace weft {

/// One row of logits: query `query` of head `head` in batch element `batch`, which has `queries`
/// queries and `keys` keys.
struct Row {
  Index batch;
  Index head;
  Index query;
  Index queries;
  Index keys;

  /// Position of the query counted on the key axis when the last query is aligned with the last
  /// key: the queries of a chunk that extends a cache.
  constexpr Index position() const noexcept { return query + keys - queries; }
};

/// An inclusive range of positions.
struct Range {
  Index first;
  Index last;
};

/// A tile of logits of one batch element: queries x keys of some heads.
struct Tile {
  Index batch;
  Range queries;
  Range keys;
  Index query_count;
  Index key_count;

  /// What must be added to a query's index to give `Row::position()`.
  constexpr Index shift() const noexcept { return key_count - query_count; }
};

/// What a mask says of a tile: no key visible, some, or all to every query.
enum class Coverage { empty, partial, full };

/// Which query is aligned with which key when there are N queries and M != N keys.
/// bottom_right: the last query with the last key (the only one that suits a cache);
/// top_left: query 0 with key 0.
enum class Align { bottom_right, top_left };

/// Lane numbers 0, 1, 2, ... as numbers of the lane type.
template <class T, class X>
[[gnu::always_inline]] inline xsimd::batch<T, X> lane_numbers() noexcept {
  constexpr std::size_t W = xsimd::batch<T, X>::size;
  struct Numbers {
    T at[W];
    constexpr Numbers() noexcept : at() {
      for (std::size_t i = 0; i < W; ++i) at[i] = static_cast<T>(i);
    }
  };
  static constexpr Numbers numbers;
  return xsimd::batch<T, X>::load_unaligned(numbers.at);
}

/// The key positions j0, j0 + 1, ... in the lanes of a vector like `logits`.
template <class T, class X>
[[gnu::always_inline]] inline xsimd::batch<T, X> key_positions(const xsimd::batch<T, X>&,
                                                               Index j0) noexcept {
  return lane_numbers<T, X>() + xsimd::batch<T, X>(static_cast<T>(j0));
}

/// The first `count` lanes on (none when it is negative, all when it exceeds the width).
template <class T, class A>
[[gnu::always_inline]] inline Lanes<T, A> first_lanes(Index count) noexcept {
  const Index n = std::clamp<Index>(count, 0, kWidth<T, A>);
  return lane_numbers<T, typename A::simd>() < Vec<T, A>(static_cast<T>(n));
}

}  // namespace weft
