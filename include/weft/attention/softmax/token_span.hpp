#pragma once

#include <weft/attention/softmax/kv_source.hpp>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace weft::detail {

/// How far ahead memory is asked for, and one byte out of how many: so far that a hardware
/// prefetcher, which begins anew with every page, has begun when the page is reached, and so few
/// that it is left to do the work.
inline constexpr Index kAheadBytes = 4 << 10;
inline constexpr Index kAskEvery = 256;

/// The keys (or the values) of `count` tokens where they lie in memory, each `step` elements from
/// the last, and what is `ahead` elements on to be asked for while one is in work.
template <class S>
struct TokenSpan {
  const S* at;
  Index step, ahead, count;

  TokenSpan from(Index n) const noexcept { return {at + n * step, step, ahead, count - n}; }
};

/// The longest run of tokens of a tile from its token j on.
template <bool Values, class Source>
auto token_span(const Source& source, const KvTile& tile, Index j) noexcept {
  const auto run = source.run(tile.batch, tile.head, tile.first + j);
  const Index count = std::min<Index>(run.count, tile.count - j);
  const auto rows = [&](const auto* at, Index step, Index dim) {
    const Index bytes = std::max<Index>(1, dim * static_cast<Index>(sizeof(*at)));
    return TokenSpan<std::remove_cvref_t<decltype(*at)>>{
        at, step, step * ceil_div(kAheadBytes, bytes), count};
  };
  if constexpr (Values)
    return rows(run.values, run.value_step, source.value_dim());
  else
    return rows(run.keys, run.key_step, source.key_dim());
}

/// At least n tokens of a tile from its token j on: where they lie, or copied into `block` from
/// several runs, behind the end of the tile the last one again.
template <bool Values, class Source, class T>
auto token_block(const Source& source, const KvTile& tile, Index j, Index n, T* block) noexcept {
  auto rows = token_span<Values>(source, tile, j);
  if (rows.count >= n) return rows;
  using S = std::remove_cvref_t<decltype(*rows.at)>;
  static_assert(sizeof(S) <= sizeof(T));
  const Index dim = Values ? source.value_dim() : source.key_dim();
  auto* to = reinterpret_cast<S*>(block);
  for (Index i = 0; i < n; ++i) {
    std::copy_n(rows.at, dim, to + i * dim);
    if (j + i + 1 == tile.count) continue;
    rows = rows.count > 1 ? rows.from(1) : token_span<Values>(source, tile, j + i + 1);
  }
  return decltype(rows){to, dim, 0, n};
}

/// Asks memory for N elements from p on.
template <int N, class S>
[[gnu::always_inline]] inline void ask_memory(const S* p) noexcept {
#pragma GCC unroll 8
  for (int i = 0; i < N; i += kAskEvery / static_cast<int>(sizeof(S)))
    __builtin_prefetch(p + i, 0, 2);
}

}  // namespace weft::detail
