#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/core/random.hpp>
#include <weft/core/tensor.hpp>

#include <numeric>

namespace weft {

/// Attention to a subset of the keys, one for all queries and heads: the core of stochastically
/// subsampled self-attention (The Information Pathways Hypothesis, arXiv:2306.01705).
///
///   out_i = sum_{j in subset} softmax over the subset (scale q_i . k_j) v_j
///
/// `subset` [S] holds the numbers of the keys, in any order; k [B, Hk, M, D] and v [B, Hk, M, E]
/// are read in place, neighbours in the subset that are neighbours in memory together. Masks and
/// scores see key s of the subset as key s; CausalSubset is the causal mask of the original
/// positions. A query that sees no key of the subset gets 0 and lse -inf. All keys in order give
/// plain attention.
///
/// How the paper draws its subsets is not published in code; `draw_subset` is our definition.
/// Throws where shapes disagree or a number is not below M. Time O(B Hq N S (D + E)).
template <class K, class V>
struct SubsetKv {
  ContiguousKv<K, V> all;
  View<const std::int32_t, 1> subset;

  Index keys(Index) const noexcept { return subset.extent(0); }
  Index kv_heads() const noexcept { return all.kv_heads(); }
  Index key_dim() const noexcept { return all.key_dim(); }
  Index value_dim() const noexcept { return all.value_dim(); }
  KvRun<K, V> run(Index b, Index h, Index s) const noexcept {
    KvRun<K, V> found = all.run(b, h, subset(s));
    Index count = 1;
    while (s + count < subset.extent(0) && subset(s + count) == subset(s) + count) ++count;
    found.count = count;
    return found;
  }
};
static_assert(KvSource<SubsetKv<float, float>>);

/// Key s of the subset is visible to query i when subset[s] <= i + keys - N, `keys` being the
/// number M of all keys: bottom-right causal in the original positions.
struct CausalSubset {
  View<const std::int32_t, 1> subset;
  Index keys;

  Coverage classify(const Tile&) const noexcept { return Coverage::partial; }
  bool visible(const Row& r, Index s) const noexcept {
    return subset(s) <= r.query + keys - r.queries;
  }
  void check(Index, Index, Index, Index seen) const {
    require(subset.extent(0) == seen, "CausalSubset: ", subset.extent(0), " numbers for ", seen,
            " keys");
  }
};
static_assert(Mask<CausalSubset>);

/// `count` different keys of M, drawn evenly and sorted: the first steps of a Fisher-Yates shuffle.
/// Throws unless 0 <= count <= M.
inline Tensor<std::int32_t, 1> draw_subset(Philox& random, Index keys, Index count) {
  require(count >= 0 && count <= keys, "draw_subset: ", count, " of ", keys, " keys");
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(keys));
  std::iota(numbers.begin(), numbers.end(), 0);
  for (Index s = 0; s < count; ++s) {
    const double share = static_cast<double>(random()) * 0x1p-32;
    const Index other = s + static_cast<Index>(share * static_cast<double>(keys - s));
    std::swap(numbers[static_cast<std::size_t>(s)], numbers[static_cast<std::size_t>(other)]);
  }
  Tensor<std::int32_t, 1> subset({count});
  std::copy_n(numbers.begin(), count, subset.data());
  std::sort(subset.data(), subset.data() + count);
  return subset;
}

namespace detail {

template <class K, class V>
SubsetKv<K, V> checked_subset(View<const K, 4> k, View<const V, 4> v,
                              View<const std::int32_t, 1> subset, Index batch) {
  const auto all = checked_kv<K, V>(k, v);
  require(batch == k.extent(0), "q has batch size ", batch, ", k has ", k.extent(0));
  for (Index s = 0; s < subset.extent(0); ++s)
    require(subset(s) >= 0 && subset(s) < k.extent(2), "forward_subset: entry ", s,
            " of the subset is ", subset(s), ", k has ", k.extent(2), " keys");
  return {all, subset};
}

}  // namespace detail

template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<4> Q, ViewLike<4> K,
          ViewLike<4> V, ViewLike<4> O, ViewLike<3> L>
void forward_subset_with_lse(const Softmax<M, S, Z, P>& mixer, const Q& q, const K& k, const V& v,
                             View<const std::int32_t, 1> subset, O&& out, L&& lse,
                             const Context& ctx = Context()) {
  const auto source = detail::checked_subset<detail::Element<const K>, detail::Element<const V>>(
      view_of(k), view_of(v), subset, view_of(q).extent(0));
  forward_with_lse<A>(mixer, q, source, out, lse, ctx);
}

template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<4> Q, ViewLike<4> K,
          ViewLike<4> V, ViewLike<4> O>
void forward_subset(const Softmax<M, S, Z, P>& mixer, const Q& q, const K& k, const V& v,
                    View<const std::int32_t, 1> subset, O&& out, const Context& ctx = Context()) {
  const auto source = detail::checked_subset<detail::Element<const K>, detail::Element<const V>>(
      view_of(k), view_of(v), subset, view_of(q).extent(0));
  forward<A>(mixer, q, source, out, ctx);
}

}  // namespace weft
