#pragma once

#include <weft/attention/softmax/statistic.hpp>

namespace weft {

namespace detail {

/// The `count` largest logits of a row, descending, at[0, count), and the positions of their keys,
/// at[count, 2 count). Equal ones stand in the order of the keys and the first to come stay; NaN
/// counts as larger than any number.
struct LargestLogits {
  Index count;

  Index size() const noexcept { return 2 * count; }
  template <class T>
  void start(T* at) const noexcept {
    std::fill_n(at, count, kHidden<T>);
    std::fill_n(at + count, count, T(0));
  }
  template <class A, class T>
  void add(const T* s, Index begin, Index end, Index j0, T, T* at) const noexcept {
    // Most vectors hold nothing that is larger than the smallest kept.
    for (Index c = begin; c < end; c += kWidth<T, A>) {
      if (xsimd::all(load<A>(s + c) <= Vec<T, A>(at[count - 1]))) continue;
      for (Index l = c; l < std::min(end, c + kWidth<T, A>); ++l)
        if (!(s[l] <= at[count - 1])) insert(s[l], static_cast<T>(j0 + l), at);
    }
  }

 private:
  template <class T>
  void insert(T logit, T key, T* at) const noexcept {
    if (at[count - 1] != at[count - 1]) return;
    const bool is_nan = logit != logit;
    Index place = count - 1;
    for (; place > 0 && (is_nan || at[place - 1] < logit); --place) {
      at[place] = at[place - 1];
      at[count + place] = at[count + place - 1];
    }
    at[place] = logit;
    at[count + place] = key;
  }
};

}  // namespace detail

/// Selective hard attention (AxFormer: Accuracy-driven Approximation of Transformers,
/// arXiv:2010.03688): softmax over the `count` largest visible logits of each row.
///
///   kept_i = the count largest s_ij, of equal ones those with the lowest j
///   out_i  = sum_{j in kept_i} exp(s_ij) v_j / sum_{j in kept_i} exp(s_ij)
///   lse_i  = ln sum_{j in kept_i} exp(s_ij)
///
/// count = 1 is argmax, with weight 1; as many as are visible is plain softmax. All verbs. lse is
/// given for its own sake: results over parts of the keys do not merge, the largest of all are not
/// the largest of each part. Which layers AxFormer hardens, and how it decides, is not part of it.
///
/// One pass over the logits, then the values of the kept keys alone; it costs O(M) comparisons per
/// row and O(count) for every logit that enters the kept ones, of random order about count ln(M /
/// count). Memory 2 count numbers per row of a task. Throws weft::error when count < 1, or there
/// are more than 2^24 keys, which is as far as fp32 counts them.
struct TopK {
  static constexpr bool gives_lse = true;
  Index count = 1;

  auto statistic() const noexcept { return detail::LargestLogits{count}; }
  template <class T>
  T base(const T* kept) const noexcept {
    return kept[0];
  }
  template <class T>
  KeptKeys<T> kept(const T* statistic) const noexcept {
    return {statistic, statistic + count, count};
  }
  template <class T>
  auto weights(const T* kept, const Row&) const noexcept {
    const T least = kept[count - 1], last = kept[2 * count - 1];
    return [least, last, top = kept[0]](const auto& s, Index j0) {
      using V = std::remove_cvref_t<decltype(s)>;
      const auto late = s == V(least) && key_positions(s, j0) > V(last);
      const auto left_out = s < V(least) || late;  // false for NaN, which shall be seen
      return xsimd::select(left_out, V(T(0)), math::exp2_nonpositive(s - V(top)));
    };
  }
  template <class T>
  T factor(T, T l, const Row&) const noexcept {
    return l == T(0) ? T(0) : T(1) / l;
  }
  void check(Index, Index, Index, Index keys) const {
    require(count >= 1, "TopK: count must be positive, got ", count);
    require(keys <= Index{1} << 24, "TopK: at most 2^24 keys, got ", keys);
  }
};
static_assert(TwoPassNormalizer<TopK> && ExponentialNormalizer<TopK> && LseNormalizer<TopK> &&
              SelectingNormalizer<TopK>);

}  // namespace weft
