#pragma once

#include <weft/attention/softmax/kv_source.hpp>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace weft::detail {

/// How far ahead memory is asked for: so far that a hardware prefetcher, which begins anew with
/// every page, has begun when the page is reached.
inline constexpr Index kAheadBytes = 4 << 10;
/// One byte out of how many is asked for where tokens adjoin: so few that the prefetcher is left to
/// do the work. Where they do not, it stops with each token, and every line is asked for.
inline constexpr Index kAskEvery = 256;

/// The keys (or the values) of `count` tokens where they lie in memory, each `step` elements from
/// the last: adjoining, or scattered. What is `ahead` elements on is asked for while one is in
/// work.
template <class S>
struct TokenSpan {
  const S* at;
  Index step, ahead, count;
  bool scattered;

  TokenSpan from(Index n) const noexcept {
    return {at + n * step, step, ahead, count - n, scattered};
  }
};

/// The longest run of tokens of a tile from its token j on.
template <bool Values, class Source>
auto token_span(const Source& source, const KvTile& tile, Index j) noexcept {
  const auto run = source.run(tile.batch, tile.head, tile.first + j);
  const Index count = std::min<Index>(run.count, tile.count - j);
  const auto rows = [&]<class S>(const S* at, Index step, Index dim) {
    constexpr Index size = sizeof(S);
    const Index ahead = step * ceil_div(kAheadBytes, std::max<Index>(1, dim * size));
    return TokenSpan<S>{at, step, ahead, count, (step - dim) * size >= kAskEvery};
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
    if (j + i + 1 >= tile.count) continue;
    rows = rows.count > 1 ? rows.from(1) : token_span<Values>(source, tile, j + i + 1);
  }
  return decltype(rows){to, dim, 0, n, false};
}

/// Asks memory for N elements from p on.
template <int N, class S>
[[gnu::always_inline]] inline void ask_memory(const S* p, bool scattered) noexcept {
  constexpr int kSize = static_cast<int>(sizeof(S)), kLine = 64 / kSize, kFar = kAskEvery / kSize;
  if (scattered) {
#pragma GCC unroll 32
    for (int i = 0; i < N; i += kLine) __builtin_prefetch(p + i, 0, 2);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < N; i += kFar) __builtin_prefetch(p + i, 0, 2);
  }
}

}  // namespace weft::detail
