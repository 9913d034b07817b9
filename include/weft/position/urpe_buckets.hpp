#pragma once

#include <weft/position/relative_bias.hpp>

namespace weft {

/// Relative position buckets of URPE (Your Transformer May Not be as Powerful as You Expect,
/// arXiv:2205.13401, as the published code has them). With T5's bucket n of |rel|, two-sided,
///
///   t = -n for rel < 0, n + 2 for rel >= 0       bucket = t(rel) - t(-(max_length - 1))
///
/// so that the farthest key to the left has bucket 0. Tables have count + 1 rows, two of which, in
/// the middle, no distance uses; bias and factor may have rules of their own. The factor starts
/// from a plain embedding in the published code, where 1 would be plain attention.
///
///   relative_bias(UrpeBuckets{}, table_of_b, 1 - M, bias);      for RelativeBias{bias, M - 1}
///   relative_bias(UrpeBuckets{}, table_of_c, 1 - M, factor);    for RelativeFactor{factor, M - 1}
///
/// In the "unique" mode of the published code every distance has a row, which makes the table, seen
/// as [H, L], the bias itself.
struct UrpeBuckets {
  Index count = 64;          ///< even, >= 4
  Index max_distance = 128;  ///< from here on all distances of a side share a bucket; > count / 4
  Index max_length = 512;    ///< longest sequence; matters only if shorter than max_distance

  Index rows() const noexcept { return count + 1; }
  RelativeBuckets per_side() const noexcept { return {count, max_distance, true}; }
};

/// Throws where T5's buckets do, and when max_length is not positive.
inline void check(const UrpeBuckets& buckets) {
  check(buckets.per_side());
  require(buckets.max_length >= 1, "UrpeBuckets: max_length is ", buckets.max_length,
          ", wanted 1 or more");
}

/// The bucket of one distance, in [0, count]; what is farther than max_length - 1 counts as that
/// (our choice). `buckets` must have passed `check`.
inline Index relative_bucket(const UrpeBuckets& buckets, Index rel) noexcept {
  const Index farthest = buckets.max_length - 1;
  const auto signed_bucket = [&](Index d) {
    const Index n = relative_bucket(buckets.per_side(), -std::abs(d));
    return d < 0 ? -n : n + 2;
  };
  return signed_bucket(std::clamp(rel, -farthest, farthest)) - signed_bucket(-farthest);
}

}  // namespace weft
