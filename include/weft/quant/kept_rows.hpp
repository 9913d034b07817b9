#pragma once

#include <weft/core/tensor.hpp>

#include <algorithm>

namespace weft::quant {

/// Rows of the newest tokens of a cache, kept as floats: a queue of at most `capacity` tokens of
/// [B, Hk, tokens, channels], all heads alike.
class KeptRows {
 public:
  KeptRows() = default;
  /// Twice the room, so that the rows are moved once in `capacity` tokens.
  KeptRows(Index batch, Index heads, Index capacity, Index dim)
      : rows_({batch, heads, 2 * capacity, dim}) {}

  Index count() const noexcept { return count_; }
  Index bytes() const noexcept { return 4 * rows_.size(); }
  View<const float, 4> view() const { return rows_.view().slice(2, first_, count_); }

  /// Tokens [from, from + n) of x go to the end.
  void push(const View<const float, 4>& x, Index from, Index n) noexcept {
    if (first_ + count_ + n > rows_.extent(2)) move_to_front();
    for_each_head([&](Index b, Index h) {
      for (Index i = 0; i < n; ++i)
        std::copy_n(x.pointer(b, h, from + i), x.extent(3),
                    rows_.view().pointer(b, h, first_ + count_ + i));
    });
    count_ += n;
  }

  /// Drops the oldest n.
  void pop(Index n) noexcept {
    first_ += n;
    count_ -= n;
    if (count_ == 0) first_ = 0;
  }

 private:
  template <class F>
  void for_each_head(const F& f) const noexcept {
    for (Index b = 0; b < rows_.extent(0); ++b)
      for (Index h = 0; h < rows_.extent(1); ++h) f(b, h);
  }

  void move_to_front() noexcept {
    const Index dim = rows_.extent(3);
    for_each_head([&](Index b, Index h) {
      float* at = rows_.view().pointer(b, h);
      std::copy_n(at + first_ * dim, count_ * dim, at);
    });
    first_ = 0;
  }

  Tensor<float, 4> rows_;
  Index first_ = 0, count_ = 0;
};

}  // namespace weft::quant
