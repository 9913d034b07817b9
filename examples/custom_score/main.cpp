/// Attention with a score and a mask of one's own: two small structs, and the engine does the rest.
/// The program compares the result with a plain loop.
#include <weft/attention/softmax.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

using weft::Index;

/// Logits fall with the logarithm of the distance: s <- s - rate ln(1 + |i - j|). The lanes of s
/// are the logits of keys j0, j0 + 1, ... of one query.
struct LogDistance {
  float rate;

  template <class V>
  V operator()(V s, const weft::Row& row, Index j0) const noexcept {
    const V distance = xsimd::abs(weft::key_positions(s, j0 - row.position()));
    return s - rate * weft::math::log(1.f + distance);
  }
};

/// Prefix language model: every query sees the first `prefix` keys, and those up to its own.
struct Prefix {
  Index prefix;

  bool visible(const weft::Row& row, Index key) const noexcept {
    return key < prefix || key <= row.position();
  }
  /// Tiles that are wholly visible or wholly hidden; answering partial everywhere is slower only.
  weft::Coverage classify(const weft::Tile& t) const noexcept {
    const Index seen = std::max(prefix - 1, t.queries.first + t.shift());
    if (t.keys.last <= seen) return weft::Coverage::full;
    const Index any = std::max(prefix - 1, t.queries.last + t.shift());
    return t.keys.first > any ? weft::Coverage::empty : weft::Coverage::partial;
  }
};

namespace {

constexpr Index kHeads = 4, kLength = 130, kChannels = 40;
constexpr LogDistance kScore{0.5f};
constexpr Prefix kMask{50};

using Heads = weft::Tensor<float, 4>;

Heads waves(double frequency) {
  Heads out({1, kHeads, kLength, kChannels});
  for (Index i = 0; i < out.size(); ++i) {
    out.data()[i] = static_cast<float>(std::sin(frequency * static_cast<double>(i)));
  }
  return out;
}

/// One element of the output, as the definition says it.
double plain_loop(const Heads& q, const Heads& k, const Heads& v, Index h, Index i, Index e) {
  double sum = 0, weighted = 0;
  for (Index j = 0; j < kLength; ++j) {
    if (j >= kMask.prefix && j > i) continue;
    double s = 0;
    for (Index d = 0; d < kChannels; ++d) s += double{q(0, h, i, d)} * double{k(0, h, j, d)};
    s /= std::sqrt(static_cast<double>(kChannels));
    const auto distance = static_cast<double>(std::abs(i - j));
    const double weight = std::exp(s - double{kScore.rate} * std::log(1 + distance));
    sum += weight;
    weighted += weight * double{v(0, h, j, e)};
  }
  return weighted / sum;
}

}  // namespace

int main() {
  const Heads q = waves(0.7), k = waves(1.3), v = waves(2.1);
  Heads out({1, kHeads, kLength, kChannels});
  weft::forward(weft::Softmax{kMask, kScore}, q, k, v, out);

  double largest = 0;
  for (Index h = 0; h < kHeads; ++h)
    for (Index i = 0; i < kLength; ++i)
      for (Index e = 0; e < kChannels; ++e) {
        const double expected = plain_loop(q, k, v, h, i, e);
        largest = std::max(largest, std::abs(double{out(0, h, i, e)} - expected));
      }
  std::printf("%td heads, %td tokens: largest difference from a plain loop %.1e\n", kHeads, kLength,
              largest);
  return largest < 1e-5 ? 0 : 1;
}
