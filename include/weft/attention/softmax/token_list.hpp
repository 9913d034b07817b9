#pragma once

#include <weft/attention/softmax/kv_source.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <type_traits>
#include <utility>

namespace weft::detail {

/// Bytes of keys, and as many of values, that memory is asked for in advance, and in how many
/// places at a time; bounds of the tokens that makes; bytes of K and V of a sequence up to which it
/// is not asked: they are near, and asking costs more than it saves.
inline constexpr Index kAheadBytes = 16 << 10;
inline constexpr int kAheadPlaces = 4;
inline constexpr Index kLeastAhead = 32, kMostAhead = 64;
inline constexpr Index kNearBytes = 512 << 10;

/// Where the keys (or the values) of the tokens of a tile lie in memory, and for every token the
/// one that memory is to be asked for while that one is in work.
///
/// Tokens are asked for a block ahead, those at the same place of kAheadPlaces parts of the block
/// one after the other: a single stream of addresses gets about half of the bandwidth that several
/// get, because a hardware prefetcher begins anew with every page.
template <class Source, bool Values>
class TokenList {
 public:
  using Run = decltype(std::declval<const Source&>().run(0, 0, 0));
  using Storage =
      std::remove_cvref_t<std::conditional_t<Values, decltype(*Run::values), decltype(*Run::keys)>>;
  static constexpr int kLine = 64 / static_cast<int>(sizeof(Storage));  ///< elements

  /// Lists the tokens of a tile, and copies of the last of the source up to `padded` in all.
  TokenList(const Source& source, const KvTile& tile, Index padded) noexcept {
    const Index dim = Values ? source.value_dim() : source.key_dim();
    const Index bytes = std::max<Index>(1, dim * static_cast<Index>(sizeof(Storage)));
    const Index keys = source.keys(tile.batch);
    if (2 * bytes * keys * source.kv_heads() <= kNearBytes) {
      list(source, tile, round_up(padded, kAheadPlaces));
      return;
    }
    const Index tokens = std::clamp(kAheadBytes / bytes, kLeastAhead, kMostAhead);
    const auto ahead = static_cast<Index>(std::bit_floor(static_cast<std::size_t>(tokens)));
    const Index whole = round_up(padded, ahead);
    list(source, tile, whole + ahead);
    for (Index block = 0; block < whole; block += ahead) order(block, ahead);
    next_ = order_;
  }
  TokenList(const TokenList&) = delete;
  TokenList& operator=(const TokenList&) = delete;

  const Storage* at(Index j) const noexcept { return at_[j]; }
  const Storage* next(Index j) const noexcept { return next_[j]; }

 private:
  static constexpr Index kMost = kKvTile + kMostAhead;

  void list(const Source& source, const KvTile& tile, Index count) noexcept {
    const Index end = std::min(count, source.keys(tile.batch) - tile.first);
    Index j = 0;
    while (j < end) {
      const auto run = source.run(tile.batch, tile.head, tile.first + j);
      const Index stop = std::min(end, j + run.count);
      for (Index r = 0; j < stop; ++j, ++r) at_[j] = row_of(run, r);
    }
    std::fill(at_ + end, at_ + count, at_[end - 1]);
  }

  static const Storage* row_of(const Run& run, Index r) noexcept {
    if constexpr (Values)
      return run.values + r * run.value_step;
    else
      return run.keys + r * run.key_step;
  }

  /// What is asked for during a block: the tokens of the next one.
  void order(Index block, Index ahead) noexcept {
    const Index part = ahead / kAheadPlaces;
    const Storage* const* from = at_ + block + ahead;
    const Storage** to = order_ + block;
    for (Index i = 0; i < part; ++i, to += kAheadPlaces)
      for (int place = 0; place < kAheadPlaces; ++place) to[place] = from[place * part + i];
  }

  const Storage* at_[kMost + kMostAhead];
  const Storage* order_[kMost];
  const Storage* const* next_ = at_;
};

/// Asks memory for what follows `tokens` tokens of `lines` lines, kAheadPlaces lines at a time.
template <class List>
class LinesAhead {
 public:
  LinesAhead(const List& list, Index first, Index tokens, Index lines) noexcept
      : list_(&list), token_(first), end_(first + tokens), lines_(lines) {}

  [[gnu::always_inline]] void ask() noexcept {
    if (token_ >= end_) return;
#pragma GCC unroll 4
    for (int place = 0; place < kAheadPlaces; ++place)
      __builtin_prefetch(list_->next(token_ + place) + line_ * List::kLine, 0, 2);
    if (++line_ < lines_) return;
    line_ = 0;
    token_ += kAheadPlaces;
  }

 private:
  const List* list_;
  Index token_, end_, lines_, line_ = 0;
};

}  // namespace weft::detail
