#pragma once

#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace weft {

/// Relative position buckets of T5 (Exploring the Limits of Transfer Learning, arXiv:1910.10683).
///
/// The distance of key j from query i is rel = j - (i + M - N): the last of N queries stands at the
/// last of M keys. With nb buckets for one direction and e = nb / 2,
///   bucket = n                                                          for n < e
///            min(nb - 1, e + floor(ln(n / e) / ln(max / e) (nb - e)))   for n >= e
/// where, bidirectional, nb = count / 2, n = |rel| and keys to the right (rel > 0) use the upper nb
/// buckets; one-directional, nb = count and n = max(-rel, 0): all later keys share bucket 0.
struct RelativeBuckets {
  Index count = 32;           ///< rows of the bias table; even and >= 4, or >= 2 one-directional
  Index max_distance = 128;   ///< from here on all distances share the last bucket; > e
  bool bidirectional = true;  ///< encoder; false for a decoder's self-attention

  Index rows() const noexcept { return count; }  ///< of the bias table
};

/// Throws when the sizes leave no bucket for one of the two ranges.
inline void check(const RelativeBuckets& buckets) {
  if (buckets.bidirectional) {
    require(buckets.count >= 4 && buckets.count % 2 == 0, "RelativeBuckets: count is ",
            buckets.count, ", bidirectional buckets come in two equal halves of 2 or more");
  }
  require(buckets.count >= 2, "RelativeBuckets: count is ", buckets.count, ", wanted 2 or more");
  const Index exact = buckets.count / (buckets.bidirectional ? 4 : 2);
  require(buckets.max_distance > exact, "RelativeBuckets: max_distance is ", buckets.max_distance,
          ", wanted more than the ", exact, " distances that have a bucket of their own");
}

/// The bucket of one distance, in [0, count). `buckets` must have passed `check`.
inline Index relative_bucket(const RelativeBuckets& buckets, Index rel) noexcept {
  const Index half = buckets.bidirectional ? buckets.count / 2 : buckets.count;
  const Index base = buckets.bidirectional && rel > 0 ? half : 0;
  const Index n = buckets.bidirectional ? std::abs(rel) : std::max<Index>(-rel, 0);
  const Index exact = half / 2;
  if (n < exact) return base + n;
  const auto e = static_cast<double>(exact);
  const double octave = std::log(static_cast<double>(n) / e) /
                        std::log(static_cast<double>(buckets.max_distance) / e);
  // n / e may be an exact power of max / e, whose quotient of logarithms can come out just below
  // the integer; the nudge puts it back and is far smaller than the gap to any other distance.
  const double step = std::floor(octave * static_cast<double>(half - exact) + 1e-9);
  return base + std::min(half - 1, exact + static_cast<Index>(step));
}

/// Bias of every distance in [first, first + length), per head:
///   bias[h, t] = table[bucket(first + t), h]            table [rows, H], bias [H, length]
/// For N queries and M keys, first = 1 - M and length = N + M - 1 cover every rel. The Score policy
/// of the softmax engine then is RelativeBias{bias, -first}. `buckets` is RelativeBuckets, or
/// another rule with rows(), check and relative_bucket (urpe_buckets.hpp).
///
/// Throws when the buckets are impossible or the shapes disagree. Time O(H length).
template <class Buckets, ViewLike<2> Table, ViewLike<2> Bias>
void relative_bias(const Buckets& buckets, const Table& table_like, Index first, Bias&& bias_like) {
  const auto table = view_of(table_like);
  const auto bias = view_of(bias_like);
  using T = typename decltype(bias)::value_type;
  check(buckets);
  require(table.extent(0) == buckets.rows(), "relative_bias: table has ", table.extent(0),
          " rows, there are ", buckets.rows(), " buckets");
  require(table.extent(1) == bias.extent(0), "relative_bias: bias has ", bias.extent(0),
          " heads, the table has ", table.extent(1));
  for (Index t = 0; t < bias.extent(1); ++t) {
    const Index bucket = relative_bucket(buckets, first + t);
    for (Index h = 0; h < bias.extent(0); ++h) {
      bias(h, t) = static_cast<T>(table(bucket, h));
    }
  }
}

}  // namespace weft
