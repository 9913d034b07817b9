#pragma once

#include <weft/attention/softmax/normalizer.hpp>

namespace weft {

/// Query i sees the keys of its own block, j / size = i / size: attention within blocks of tokens,
/// nothing across them. DiagAttention of TransNormer (The Devil in Linear Transformer,
/// arXiv:2210.10340), whose two kinds are
///
///   Softmax{And{BlockDiagonal{w}, causal}, NoScore{}, ReluWeights<1>{Count::one}}       T1, and
///           then SimpleRmsNorm over all heads
///   Softmax{BlockDiagonal{w}, NoScore{}, PaddedBlockSoftmax{w}}                         T2
///
/// and the local half of FLASH. Blocks count from the first token of queries and keys alike. Time
/// O(B H N size (D + E)). size must be positive.
struct BlockDiagonal {
  Index size = 64;

  constexpr Coverage classify(const Tile& t) const noexcept {
    const Index first = t.queries.first / size, last = t.queries.last / size;
    if (t.keys.last < first * size || t.keys.first >= (last + 1) * size) return Coverage::empty;
    const bool one = first == last && t.keys.first / size == first && t.keys.last / size == first;
    return one ? Coverage::full : Coverage::partial;
  }
  constexpr bool visible(const Row& r, Index key) const noexcept {
    return key / size == r.query / size;
  }
  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    const Index begin = r.query / size * size;
    return first_lanes<T, A>(begin + size - j0) && !first_lanes<T, A>(begin - j0);
  }
  void check(Index, Index, Index, Index) const {
    require(size >= 1, "BlockDiagonal: size is ", size, ", must be at least 1");
  }
};
static_assert(Mask<BlockDiagonal>);

/// Softmax in blocks as published: a sequence is filled up to whole blocks with keys of logit 0 and
/// value 0, which queries of the last block see if nothing is causal.
struct PaddedBlockSoftmax {
  Index size = 64;

  template <class T>
  T factor(T m, T l, const Row& row) const noexcept {
    if (l == T(0)) return T(0);
    const Index tail = row.keys % size;
    if (tail == 0 || row.query / size != row.keys / size) return T(1) / l;
    const T top = m < T(0) ? T(0) : m;
    const T own = std::exp2(m - top);
    return own / (l * own + static_cast<T>(size - tail) * std::exp2(-top));
  }
  void check(Index, Index, Index, Index) const {
    require(size >= 1, "PaddedBlockSoftmax: size is ", size, ", must be at least 1");
  }
};
static_assert(OnlineNormalizer<PaddedBlockSoftmax>);

}  // namespace weft
