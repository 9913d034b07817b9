#pragma once

#include <weft/core/arguments.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace weft {

/// Which tokens go to which of M memories (MoM: Linear Sequence Modeling with Mixture-of-Memories,
/// arXiv:2502.13685):
///
///   s = softmax(logits[b, t]),   the k largest of s are chosen, w = s / (sum of the chosen)
///   out[b, t] = sum over the chosen memories m of w_m o_m[b, t]
///
/// o_m is any recurrence over the tokens of memory m in their order, as if there were no others: a
/// token that does not go there neither decays nor writes it. Chosen tokens lie end to end, memory
/// by memory and in it batch element by batch element, so that the projections of one memory are
/// one matrix product, and the recurrence is one call with the states [M B, H, F, E]:
///
///   MemoryRoute route(logits, 2);                             logits [B, N, M]
///   route.gather(x, xs);                                      x [B, N, C], xs [entries, C]
///   ... k, v and gates of route.tokens_of(m) by the weights of memory m ...
///   prefill_ragged(mixer, state, q, k, v, route.sequences(), o);
///   route.combine(o, out);                                    o [entries, C], out [B, N, C]
///
/// Of equal logits the memory with the lower number is chosen first. With NaN among its logits a
/// token goes to the first k memories, by weights of NaN. Throws where k is not in 1 .. M or shapes
/// disagree. O(B N M log k).
class MemoryRoute {
 public:
  /// Entries [first, first + count).
  struct Span {
    Index first, count;
  };

  template <ViewLike<3> L>
  MemoryRoute(const L& logits, Index top_k) {
    const auto scores = view_of(logits);
    batch_ = scores.extent(0);
    tokens_ = scores.extent(1);
    memories_ = scores.extent(2);
    top_k_ = top_k;
    require(top_k >= 1 && top_k <= memories_, "MemoryRoute: top_k is ", top_k, " of ", memories_,
            " memories");
    for (Index b = 0; b < batch_; ++b)
      for (Index t = 0; t < tokens_; ++t) choose(scores.select(0, b).select(0, t));
    lay_out();
  }

  Index entries() const noexcept { return static_cast<Index>(source_.size()); }
  Index memories() const noexcept { return memories_; }

  /// Prefix sums of the lengths of the sequences (memory, batch element), M B + 1 numbers.
  View<const std::int32_t, 1> sequences() const noexcept {
    return {sums_.data(), {static_cast<Index>(sums_.size())}};
  }
  Span tokens_of(Index memory) const noexcept {
    const auto at = [&](Index m) { return Index{sums_[static_cast<std::size_t>(m * batch_)]}; };
    return {at(memory), at(memory + 1) - at(memory)};
  }

  /// The memories of token t, the most wanted first, and their weights.
  std::int32_t selected(Index b, Index t, Index rank) const noexcept {
    return selected_[choice(b, t, rank)];
  }
  double weight(Index b, Index t, Index rank) const noexcept {
    return weights_[choice(b, t, rank)];
  }

  /// to[entry] = x of its token.
  template <ViewLike<3> X, ViewLike<2> Y>
  void gather(const X& x, Y&& to) const {
    const auto from = view_of(x);
    const auto rows = view_of(to);
    check(from, rows, "gather");
    for (Index e = 0; e < entries(); ++e) {
      const Index token = source_[static_cast<std::size_t>(e)] / top_k_;
      std::copy_n(from.pointer(token / tokens_, token % tokens_), rows.extent(1), rows.pointer(e));
    }
  }

  /// out = sum of the weighted entries of each token.
  template <ViewLike<2> X, ViewLike<3> Y>
  void combine(const X& from, Y&& out) const {
    using T = detail::Element<Y>;
    const auto rows = view_of(from);
    const auto to = view_of(out);
    check(to, rows, "combine");
    for (Index b = 0; b < batch_; ++b)
      for (Index t = 0; t < tokens_; ++t) std::fill_n(to.pointer(b, t), to.extent(2), T(0));
    for (Index e = 0; e < entries(); ++e) {
      const Index chosen = source_[static_cast<std::size_t>(e)], token = chosen / top_k_;
      const T w = static_cast<T>(weights_[static_cast<std::size_t>(chosen)]);
      T* sum = to.pointer(token / tokens_, token % tokens_);
      for (Index c = 0; c < to.extent(2); ++c) sum[c] += w * rows(e, c);
    }
  }

 private:
  std::size_t choice(Index b, Index t, Index rank) const noexcept {
    return static_cast<std::size_t>((b * tokens_ + t) * top_k_ + rank);
  }

  template <class S>
  void choose(const View<S, 1>& logits) {
    const auto value = [&](std::int32_t m) { return static_cast<double>(logits(m)); };
    std::vector<std::int32_t> order(static_cast<std::size_t>(memories_));
    std::iota(order.begin(), order.end(), 0);
    // NaN has no place in an order.
    const bool ordered =
        std::none_of(order.begin(), order.end(), [&](auto m) { return std::isnan(value(m)); });
    if (ordered)
      std::partial_sort(order.begin(), order.begin() + top_k_, order.end(),
                        [&](std::int32_t a, std::int32_t b) {
                          return value(a) > value(b) || (value(a) == value(b) && a < b);
                        });
    double sum = ordered ? 0 : std::numeric_limits<double>::quiet_NaN();
    for (Index r = 0; r < top_k_; ++r)
      sum += std::exp(value(order[static_cast<std::size_t>(r)]) - value(order[0]));
    for (Index r = 0; r < top_k_; ++r) {
      const std::int32_t m = order[static_cast<std::size_t>(r)];
      selected_.push_back(m);
      weights_.push_back(std::exp(value(m) - value(order[0])) / sum);
    }
  }

  /// A counting sort of the choices by memory and batch element, which keeps the order of tokens.
  void lay_out() {
    const Index per_element = tokens_ * top_k_;
    const auto sequence = [&](Index chosen) {
      return static_cast<std::size_t>(selected_[static_cast<std::size_t>(chosen)] * batch_ +
                                      chosen / per_element);
    };
    const auto choices = static_cast<Index>(selected_.size());
    sums_.assign(static_cast<std::size_t>(memories_ * batch_ + 1), 0);
    for (Index c = 0; c < choices; ++c) ++sums_[sequence(c) + 1];
    std::partial_sum(sums_.begin(), sums_.end(), sums_.begin());
    std::vector<std::int32_t> next(sums_.begin(), sums_.end() - 1);
    source_.resize(selected_.size());
    for (Index c = 0; c < choices; ++c) source_[static_cast<std::size_t>(next[sequence(c)]++)] = c;
  }

  template <class X, class Y>
  void check(const View<X, 3>& tokens, const View<Y, 2>& rows, const char* verb) const {
    require(tokens.extent(0) == batch_ && tokens.extent(1) == tokens_ &&
                rows.extent(0) == entries() && rows.extent(1) == tokens.extent(2),
            "MemoryRoute::", verb, ": tokens ", tokens, " and entries ", rows, " do not fit ",
            batch_, " x ", tokens_, " tokens with ", entries(), " entries");
    detail::require_channels(tokens, "the tokens");
    detail::require_channels(rows, "the entries");
  }

  Index batch_ = 0, tokens_ = 0, memories_ = 0, top_k_ = 0;
  std::vector<std::int32_t> selected_;  ///< [B, N, k]
  std::vector<double> weights_;         ///< [B, N, k]
  std::vector<Index> source_;           ///< the choice of each entry
  std::vector<std::int32_t> sums_;
};

}  // namespace weft
