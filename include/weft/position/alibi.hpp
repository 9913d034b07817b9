#pragma once

#include <weft/core/tensor.hpp>

#include <bit>
#include <cmath>

namespace weft {

/// Slopes of attention with linear biases (Train Short, Test Long, arXiv:2108.12409).
///
/// Head h of n lowers the logit of a key at distance d by m_h d. With n a power of two
///   m_h = 2^(-8 (h + 1) / n)                                  h = 0 .. n - 1
/// and otherwise, with P the largest power of two below n, the slopes of P heads followed by the
/// slopes 0, 2, 4, ... of 2 P heads, which is why the list is then not monotone.
///
/// Throws when `heads` is not positive or `head` is none of them. Time O(1).
inline double alibi_slope(Index head, Index heads) {
  require(heads >= 1, "alibi_slope: heads is ", heads, ", at least one is needed");
  require(head >= 0 && head < heads, "alibi_slope: head ", head, " of ", heads, " heads");
  const auto power =
      static_cast<double>(std::bit_floor(static_cast<std::size_t>(heads)));  // P, or n itself
  const auto h = static_cast<double>(head);
  if (h < power) return std::exp2(-8.0 * (h + 1) / power);
  return std::exp2(-8.0 * (2.0 * (h - power) + 1) / (2.0 * power));
}

/// All of them, [heads]. The Score policy `Alibi` of the softmax engine takes this.
template <class T = float>
Tensor<T, 1> alibi_slopes(Index heads) {
  require(heads >= 1, "alibi_slopes: heads is ", heads, ", at least one is needed");
  Tensor<T, 1> slopes({heads});
  for (Index h = 0; h < heads; ++h) slopes(h) = static_cast<T>(alibi_slope(h, heads));
  return slopes;
}

}  // namespace weft
