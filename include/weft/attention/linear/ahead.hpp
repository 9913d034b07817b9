#pragma once

#include <weft/core/tile_product.hpp>

#include <cstddef>

namespace weft::detail {

/// Rows that the next chunk will read or write, asked for in the middle of the products of this
/// one, a line with every step of a register tile: a burst of them would occupy all outstanding
/// misses of the core, and arithmetic would wait behind it as it does without them. Only rows
/// without gaps between them; others are left to the hardware.
class RowsAhead {
 public:
  /// `rows` rows, `step` bytes apart, will be wanted.
  void want(const std::byte* first, Index step, Index bytes, Index rows) noexcept {
    if (count_ == kStretches || step != bytes) return;
    stretches_[count_++] = {reinterpret_cast<const char*>(first), bytes * rows};
  }
  void forget() noexcept { count_ = 0; }

  /// What a register tile of so many steps is to ask for.
  PrefetchAhead take(Index steps) noexcept {
    while (count_ > 0 && stretches_[count_ - 1].bytes <= 0) --count_;
    if (count_ == 0) return {reinterpret_cast<const char*>(this), 0};
    Stretch& s = stretches_[count_ - 1];
    const PrefetchAhead asked{s.at, kLine};
    s.at += steps * kLine;
    s.bytes -= steps * kLine;
    return asked;
  }

 private:
  static constexpr int kStretches = 4;
  static constexpr Index kLine = 64;

  struct Stretch {
    const char* at;
    Index bytes;
  };

  Stretch stretches_[kStretches] = {};
  int count_ = 0;
};

}  // namespace weft::detail
