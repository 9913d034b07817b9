#pragma once

#include <weft/attention/kernelized/few_keys.hpp>
#include <weft/attention/kernelized/row_ops.hpp>
#include <weft/core/random.hpp>
#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace weft {

/// ProbSparse attention (Informer: Beyond Efficient Transformer for Long Sequence Time-Series
/// Forecasting, arXiv:2012.07436): only the queries with the most uneven logits attend.
///
///   s_it  = q_i . k_samples(i, t)                                  t < U, not scaled
///   M_i   = max_t s_it - (sum_t s_it) / M                          divided by the number of keys
///   out_i = softmax(scale q_i k^T) v          the `selected` queries of the largest M_i of a head
///   out_i = mean of all v                     the others
///   out_i = sum of v_j, j <= i                the others where causal: a sum, as published
///
/// q [B, Hq, N, D], k [B, Hk, M, D], v [B, Hk, M, E], out [B, Hq, N, E]. samples [N, U], keys with
/// repetition, one table for the whole batch: see prob_sparse_samples. Among equal M_i the first
/// queries are taken. Causal needs N = M; the attention then sees no later key, but the selection
/// compares all queries by keys that may be later. With selected = N it is plain attention.
///
/// Elements fp32 or fp64, one type for all. Throws where shapes do not fit or a sample is not below
/// M. Time O(B H (N U D + selected M (D + E) + (N + M) E)).
struct ProbSparse {
  View<const std::int32_t, 2> samples;
  Index selected;
  bool causal = false;
  double scale = 0;  ///< 0 means 1 / sqrt(D)
};

/// How many keys are sampled of n, and queries selected of n: factor ceil(ln n), 1 .. n.
inline Index prob_sparse_count(Index n, Index factor = 5) {
  require(n >= 1 && factor >= 1, "prob_sparse_count: ", n, " tokens, factor ", factor,
          "; both must be positive");
  const auto logarithm = static_cast<Index>(std::ceil(std::log(static_cast<double>(n))));
  return std::clamp<Index>(factor * logarithm, 1, n);
}

/// `count` keys of `keys` for every query, drawn evenly with repetition.
inline Tensor<std::int32_t, 2> prob_sparse_samples(Philox& random, Index queries, Index keys,
                                                   Index count) {
  require(keys >= 1, "prob_sparse_samples: of ", keys, " keys");
  Tensor<std::int32_t, 2> samples({queries, count});
  for (std::int32_t& key : samples.span()) {
    const double share = static_cast<double>(random()) * 0x1p-32;
    key = static_cast<std::int32_t>(share * static_cast<double>(keys));
  }
  return samples;
}

namespace detail {

/// M_i of every query of one head, a register of samples at a time.
template <class A, class T>
void measure_queries(const View<const std::int32_t, 2>& samples, const View<const T, 2>& q,
                     const View<const T, 2>& k, T* measure) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  const Index U = samples.extent(1);
  for (Index i = 0; i < q.extent(0); ++i) {
    V largest(-std::numeric_limits<T>::infinity()), sum(T(0));
    for (Index t = 0; t < U; t += W) {
      // Behind the end the last sample again, which changes no maximum.
      const V s = dot_rows<A>(q.pointer(i), q.extent(1), [&](Index l) {
        return k.pointer(samples(i, std::min(t + l, U - 1)));
      });
      largest = xsimd::max(largest, s);
      sum += xsimd::select(leading_lanes<A, T>(U - t), s, V(T(0)));
    }
    measure[i] = max_lanes(largest) - sum_lanes(sum) / static_cast<T>(k.extent(0));
  }
}

/// The positions of the `count` largest numbers, ascending; of equal ones the first.
template <class T>
void largest_positions(const T* values, Index n, std::int32_t* to, Index count, Arena& arena) {
  auto* order = arena.take<std::int32_t>(n);
  std::iota(order, order + n, 0);
  std::nth_element(order, order + count, order + n, [values](std::int32_t a, std::int32_t b) {
    return values[a] != values[b] ? values[a] > values[b] : a < b;
  });
  std::sort(order, order + count);
  std::copy_n(order, count, to);
}

/// Query s of a head sees the keys up to last(batch, head, s), which does not descend along s.
struct SeenUpTo {
  View<const std::int32_t, 3> last;

  Coverage classify(const Tile& t) const noexcept {
    bool empty = true, full = true;
    for (Index h = 0; h < last.extent(1); ++h) {
      empty = empty && t.keys.first > last(t.batch, h, t.queries.last);
      full = full && t.keys.last <= last(t.batch, h, t.queries.first);
    }
    return empty ? Coverage::empty : full ? Coverage::full : Coverage::partial;
  }
  bool visible(const Row& r, Index key) const noexcept {
    return key <= last(r.batch, r.head, r.query);
  }
  template <class T, class A>
  Lanes<T, A> lanes(const Row& r, Index j0) const noexcept {
    return first_lanes<T, A>(last(r.batch, r.head, r.query) - j0 + 1);
  }
};
static_assert(Mask<SeenUpTo>);

/// What the queries give that do not attend: the mean of v [M, E], or its running sums. In double,
/// since sums grow with the length.
template <class T>
void average_values(const View<const T, 2>& v, bool causal, const View<T, 2>& out, Arena& arena) {
  const Index M = v.extent(0), E = v.extent(1);
  auto* sum = arena.take<double>(E);
  std::fill_n(sum, E, 0.0);
  for (Index j = 0; j < M; ++j) {
    const T* row = v.pointer(j);
    for (Index e = 0; e < E; ++e) sum[e] += static_cast<double>(row[e]);
    if (!causal) continue;
    for (Index e = 0; e < E; ++e) out(j, e) = static_cast<T>(sum[e]);
  }
  for (Index i = 0; !causal && i < out.extent(0); ++i)
    for (Index e = 0; e < E; ++e) out(i, e) = static_cast<T>(sum[e] / static_cast<double>(M));
}

template <class T>
void check_prob_sparse(const ProbSparse& mixer, const View<const T, 4>& q,
                       const View<const T, 4>& k) {
  const Index N = q.extent(2), M = k.extent(2);
  require_channels(q, "q");
  require_group(q.extent(1), k.extent(1));
  require(q.extent(3) == k.extent(3) && q.extent(0) == k.extent(0), "ProbSparse: q is ", q, ", k ",
          k);
  require(!mixer.causal || N == M, "ProbSparse: causal attention of ", N, " queries to ", M,
          " keys; give as many of both");
  require(M >= 1 || N == 0, "ProbSparse: no keys");
  require(mixer.samples.extent(0) == N && mixer.samples.extent(1) >= 1, "ProbSparse: samples are ",
          mixer.samples, ", wanted [", N, ", 1 or more]");
  require(mixer.selected >= 0 && mixer.selected <= N, "ProbSparse: ", mixer.selected, " of ", N,
          " queries selected");
  for (Index i = 0; i < N; ++i)
    for (Index t = 0; t < mixer.samples.extent(1); ++t)
      require(mixer.samples(i, t) >= 0 && mixer.samples(i, t) < M, "ProbSparse: a sample is ",
              mixer.samples(i, t), ", there are ", M, " keys");
}

}  // namespace detail

/// The queries that attend, ascending: positions [B, Hq, selected].
template <class A = DefaultArch, ViewLike<4> Q, ViewLike<4> K>
void select_queries(const ProbSparse& mixer, const Q& queries, const K& keys,
                    View<std::int32_t, 3> positions, const Context& ctx = Context()) {
  using T = detail::Element<const Q>;
  const View<const T, 4> q = view_of(queries), k = view_of(keys);
  detail::check_prob_sparse(mixer, q, k);
  const Index H = q.extent(1), N = q.extent(2), group = H / k.extent(1);
  require(positions.shape() == std::array<Index, 3>{q.extent(0), H, mixer.selected} &&
              positions.is_packed(),
          "ProbSparse: positions are ", positions, ", wanted [", q.extent(0), ", ", H, ", ",
          mixer.selected, "] without gaps");
  ctx.parallel(q.extent(0) * H, [&](Index task, Arena& arena) {
    const Index b = task / H, h = task % H;
    T* measure = arena.take<T>(N);
    detail::measure_queries<A, T>(mixer.samples, detail::head_of(q, b, h),
                                  detail::head_of(k, b, h / group), measure);
    detail::largest_positions(measure, N, positions.pointer(b, h), mixer.selected, arena);
  });
}

template <class A = DefaultArch, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void forward(const ProbSparse& mixer, const Q& query, const K& key, const V& value, O&& result,
             const Context& ctx = Context()) {
  using T = detail::Element<O>;
  const View<const T, 4> q = view_of(query);
  const auto source = detail::checked_kv<T, T>(view_of(key), view_of(value));
  const View<const T, 4> k = source.k, v = source.v;
  const View<T, 4> out = view_of(result);
  detail::check_prob_sparse<T>(mixer, q, k);
  const Index B = q.extent(0), H = q.extent(1), u = mixer.selected, group = H / k.extent(1);
  require(out.shape() == std::array<Index, 4>{B, H, q.extent(2), v.extent(3)},
          "ProbSparse: out is ", out, ", q ", q, ", v ", v);
  Arena& arena = ctx.arena();
  const Arena::Frame frame(arena);
  const auto positions = detail::scratch<std::int32_t, 3>(arena, {B, H, u});
  const auto last = detail::scratch<std::int32_t, 3>(arena, {B, H, u});
  const auto some = detail::scratch<T, 4>(arena, {B, H, u, q.extent(3)});
  const auto attended = detail::scratch<T, 4>(arena, {B, H, u, v.extent(3)});
  select_queries<A>(mixer, q, k, positions, ctx);
  for (Index i = 0; i < last.size(); ++i)
    last.data()[i] =
        mixer.causal ? positions.data()[i] : static_cast<std::int32_t>(k.extent(2) - 1);
  const auto for_selected = [&](auto f) {
    detail::for_each_head(B, H, [&](Index b, Index h) {
      for (Index s = 0; s < u; ++s) f(b, h, s, positions(b, h, s));
    });
  };
  for_selected([&](Index b, Index h, Index s, Index i) {
    std::copy_n(q.pointer(b, h, i), q.extent(3), some.pointer(b, h, s));
  });
  const Softmax full{detail::SeenUpTo{last}, NoScore{}, PlainSoftmax{}, mixer.scale};
  forward<A>(full, some, k, v, attended, ctx);
  ctx.parallel(B * H, [&](Index task, Arena& own) {
    detail::average_values<T>(detail::head_of(v, task / H, task % H / group), mixer.causal,
                              detail::head_of(out, task / H, task % H), own);
  });
  for_selected([&](Index b, Index h, Index s, Index i) {
    std::copy_n(attended.pointer(b, h, s), out.extent(3), out.pointer(b, h, i));
  });
}

}  // namespace weft
