#pragma once

#include <weft/attention/softmax/score.hpp>
#include <weft/core/tile_product.hpp>

namespace weft::detail {

/// What the score reads for the rows of the next tile: a line of it is asked for with every step of
/// a register tile of this one. The hardware sees no pattern in rows that are read a kilobyte at a
/// time, and a burst of requests would occupy all outstanding misses of the core, with arithmetic
/// waiting behind it.
template <Index Rows>
class ScoreAhead {
 public:
  void want(const ReadRange& range) noexcept {
    const auto* first = static_cast<const char*>(range.first);
    if (range.bytes > 0) ranges_[count_++] = {first, first + range.bytes};
  }

  [[gnu::always_inline]] void fetch_line() noexcept {
    if (count_ == 0) return;
    Lines& lines = ranges_[count_ - 1];
    __builtin_prefetch(lines.next, 0, 2);
    lines.next += 64;
    if (lines.next >= lines.end) --count_;
  }

 private:
  struct Lines {
    const char* next;
    const char* end;
  };
  Lines ranges_[Rows];
  Index count_ = 0;
};

/// What a register tile is to ask of memory: the next line.
template <Index Rows>
struct PrefetchScore {
  ScoreAhead<Rows>* ahead;

  [[gnu::always_inline]] void operator()(Index) const noexcept { ahead->fetch_line(); }
};

}  // namespace weft::detail
