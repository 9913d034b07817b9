#pragma once

#include <weft/core/tile_product.hpp>

#include <algorithm>
#include <utility>

namespace weft::detail {

/// Rows that the next chunk will read or write, asked for in the middle of the products of this
/// one, spread evenly over the steps of its register tiles: a burst of them would occupy all
/// outstanding misses of the core, and arithmetic would wait behind it as it does without them.
/// Only rows without gaps between them; others are left to the hardware.
class RowsAhead {
 public:
  /// A chunk begins, and takes as many steps as the last one.
  void begin() noexcept {
    expected_steps_ = std::exchange(steps_, 0);
    count_ = 0;
    bytes_ = 0;
  }

  /// After that: `rows` rows of so many bytes, `step` bytes apart, will be wanted.
  void want(const void* first, Index step, Index bytes, Index rows) noexcept {
    if (count_ == kStretches || step != bytes) return;
    stretches_[count_++] = {static_cast<const char*>(first), bytes * rows};
    bytes_ += bytes * rows;
  }

  /// What a register tile of so many steps is to ask for.
  PrefetchAhead take(Index steps) noexcept {
    steps_ += steps;
    while (count_ > 0 && stretches_[count_ - 1].bytes <= 0) --count_;
    if (count_ == 0) return {reinterpret_cast<const char*>(this), 0};
    Stretch& s = stretches_[count_ - 1];
    const PrefetchAhead asked{s.at, pace()};
    s.at += steps * asked.step;
    s.bytes -= steps * asked.step;
    return asked;
  }

 private:
  static constexpr int kStretches = 5;
  static constexpr Index kLine = 64;

  /// Bytes per step, a line at most.
  Index pace() const noexcept {
    return expected_steps_ == 0 ? kLine / 2 : std::min(kLine, bytes_ / expected_steps_ + 1);
  }

  struct Stretch {
    const char* at;
    Index bytes;
  };

  Stretch stretches_[kStretches] = {};
  int count_ = 0;
  Index bytes_ = 0, steps_ = 0, expected_steps_ = 0;
};

}  // namespace weft::detail
