#pragma once

#include <weft/core/check.hpp>

#include <algorithm>
#include <cstddef>

namespace weft::detail {

/// Rows that the next chunk will read or write, asked for a few lines at a time between the
/// products of this one: arithmetic that needs no memory and rows that need no arithmetic take
/// their time together rather than one after the other.
class RowsAhead {
 public:
  /// `rows` rows, `step` bytes apart, will be wanted.
  void want(const std::byte* first, Index step, Index bytes, Index rows) noexcept {
    if (count_ == kStreams) return;
    streams_[count_++] = {first, step, bytes, rows};
  }
  void forget() noexcept { count_ = 0; }

  /// Asks for about `lines` more.
  void ask(Index lines) noexcept {
    while (lines > 0 && count_ > 0) {
      Stream& s = streams_[count_ - 1];
      if (s.rows == 0) {
        --count_;
        continue;
      }
      for (Index b = 0; b < s.bytes; b += kLine, --lines) __builtin_prefetch(s.at + b, 0, 2);
      s.at += s.step;
      --s.rows;
    }
  }

 private:
  static constexpr int kStreams = 4;
  static constexpr Index kLine = 64;

  struct Stream {
    const std::byte* at;
    Index step, bytes, rows;
  };

  Stream streams_[kStreams];
  int count_ = 0;
};

}  // namespace weft::detail
