#pragma once

#include <weft/attention/softmax/bf16_tiles.hpp>
#include <weft/attention/softmax/run.hpp>
#include <weft/core/arguments.hpp>

#include <cmath>

namespace weft {

/// Scaled dot-product attention (Attention Is All You Need, arXiv:1706.03762), and every mechanism
/// that differs from it by a mask, a score or a normalizer:
///
///   s_ij  = score(scale q_i . k_j)               over the keys j that the mask shows to query i
///   out_i = sum_j exp(s_ij) v_j / sum_j exp(s_ij)                        (PlainSoftmax)
///   lse_i = ln sum_j exp(s_ij)
///
/// q [B, Hq, N, D], k [B, Hk, M, D], v [B, Hk, M, E], out [B, Hq, N, E], lse [B, Hq, N]. Hq must be
/// a multiple of Hk; query head h reads key head h / (Hq / Hk). Any strides, but 1 in the last
/// axis. A query that sees no key gets out = 0, lse = -inf; N, M and B may be zero. What stands in
/// a hidden key or value, NaN included, has no influence; NaN that is visible reaches the rows that
/// see it.
///
/// Other normalizers than softmax (normalizer.hpp) take s in other ways; those whose results cannot
/// be merged by lse do not give it.
///
/// Storage fp32, bf16, fp16 with fp32 arithmetic, or fp64 (the type of q decides; k, v and out may
/// be stored otherwise). Time O(B Hq N M (D + E)) minus what the mask empties, memory O(D + E) per
/// query of a task; results do not depend on the number of threads.
///
///   Softmax full;                                          no mask, scale 1 / sqrt(D)
///   Softmax causal{Causal{Align::bottom_right}};
///   Softmax local{Window{256, 0}, SoftCap{50.0}};
///   Softmax<NoMask, NoScore, PlainSoftmax, Bf16Products> rounded;      bf16 products, fp32 sums
template <class M = NoMask, class S = NoScore, class Z = PlainSoftmax, class P = FullPrecision>
struct Softmax {
  static_assert(Mask<M>, "the first policy of Softmax must model Mask");
  static_assert(Score<S>, "the second policy of Softmax must model Score");
  static_assert(Normalizer<Z>, "the third policy of Softmax must model Normalizer");

  M mask{};
  S score{};
  Z normalizer{};
  double scale = 0;  ///< of q . k; 0 means 1 / sqrt(D)
};
Softmax() -> Softmax<>;
template <class M>
Softmax(M) -> Softmax<M>;
template <class M, class S>
Softmax(M, S) -> Softmax<M, S>;
template <class M, class S, class Z>
Softmax(M, S, Z) -> Softmax<M, S, Z>;
template <class M, class S, class Z>
Softmax(M, S, Z, double) -> Softmax<M, S, Z>;

namespace detail {

template <class Mixer>
double scale_of(const Mixer& mixer, Index key_dim) {
  require(std::isfinite(mixer.scale), "Softmax: scale must be finite, got ", mixer.scale);
  return mixer.scale != 0 ? mixer.scale : 1 / std::sqrt(static_cast<double>(key_dim));
}

template <class Z>
constexpr void require_lse() noexcept {
  static_assert(LseNormalizer<Z>,
                "the results of this normalizer do not merge by a log-sum-exp: call forward");
}

inline void require_group(Index heads, Index kv_heads) {
  require(kv_heads >= 1 && heads % kv_heads == 0, "q has ", heads, " heads, k has ", kv_heads,
          "; the first must be a multiple of the second");
}

template <class K, class V>
ContiguousKv<K, V> checked_kv(View<const K, 4> k, View<const V, 4> v) {
  require_channels(k, "k");
  require_channels(v, "v");
  require_axis(k, "k", v, "v", 0, "batch size");
  require_axis(k, "k", v, "v", 1, "heads");
  require_axis(k, "k", v, "v", 2, "length");
  return {k, v};
}

/// Fills the parts of a problem that come from q [B, H, N, D] and out [B, H, N, E].
template <class T, class A, class Q, class O>
Problem<T> problem_of(View<const Q, 4> q, View<O, 4> out, const KvRows<T>& kv, double scale) {
  require_channels(q, "q");
  require_channels(out, "out");
  for (std::size_t axis : {0u, 1u, 2u}) require_axis(q, "q", out, "out", axis, "leading axes");
  require(q.extent(3) == kv.key_dim, "q has head size ", q.extent(3), ", k has ", kv.key_dim);
  require(out.extent(3) == kv.value_dim, "out has head size ", out.extent(3), ", v has ",
          kv.value_dim);
  require_group(q.extent(1), kv.kv_heads);
  return {q.extent(0),
          q.extent(1),
          q.extent(2),
          nullptr,
          scale,
          {reinterpret_cast<const std::byte*>(q.data()), byte_stride<Q>(q.stride(0)),
           byte_stride<Q>(q.stride(1)), byte_stride<Q>(q.stride(2)), &load_row<T, A, Q>,
           std::is_same_v<Q, T> && q.extent(3) % kWidth<T, A> == 0},
          output_rows<T, A>(out),
          {},
          kv};
}

template <class T, class Q>
LseRows<T> checked_lse(View<T, 3> lse, View<const Q, 4> q) {
  for (std::size_t axis : {0u, 1u, 2u})
    require(lse.extent(axis) == q.extent(axis), "lse ", lse, " must be [B, H, N] for q ", q);
  return {lse.data(), lse.stride(0), lse.stride(1), lse.stride(2)};
}

/// Longest key sequence of the batch, for the shape checks of the policies.
template <class T>
Index most_keys(const Problem<T>& p) noexcept {
  Index most = 0;
  for (Index b = 0; b < p.batch; ++b) most = std::max(most, p.keys_of(b));
  return most;
}

/// `workers` is a context, or the arena of the task that this call is part of.
template <class A, class T, class M, class S, class Z, class P, class Workers>
void run_attention(const Softmax<M, S, Z, P>& mixer, const Problem<T>& p, Workers& workers) {
  if (p.batch == 0) return;  // and nothing says how many keys the policies are to expect
  const Index keys = most_keys(p);
  check_policy(mixer.mask, p.batch, p.heads, p.queries, keys);
  check_policy(mixer.score, p.batch, p.heads, p.queries, keys);
  check_policy(mixer.normalizer, p.batch, p.heads, p.queries, keys);
  if (p.heads == 0 || p.queries == 0) return;
  AttentionCall<T, A, M, S, Z, P>(p, mixer.mask, mixer.score, mixer.normalizer).run(workers);
}

template <class A, class M, class S, class Z, class P, class Source, class Q, class O, class L,
          class Workers>
void attend(const Softmax<M, S, Z, P>& mixer, View<const Q, 4> q, const Source& source,
            View<O, 4> out, const L* lse, Workers& workers) {
  using T = Accumulator<Q>;
  static_assert(std::is_same_v<P, FullPrecision> || std::is_same_v<T, float>,
                "Bf16Products is for fp32, bf16 and fp16 queries");
  static_assert(StoredAs<O, T>, "out cannot be stored in this type for queries of this type");
  const double scale = scale_of(mixer, source.key_dim());
  Problem<T> p = problem_of<T, A>(q, out, erase_kv<T, A>(source), scale);
  if (lse != nullptr) p.lse = checked_lse<T>(*lse, q);
  run_attention<A>(mixer, p, workers);
}

/// `forward` inside a task: by the calling thread, with the scratch memory of its worker.
template <class A, class M, class S, class Z, class P, class Q, class K, class V, class O>
void attend_within_task(const Softmax<M, S, Z, P>& mixer, View<const Q, 4> q, View<const K, 4> k,
                        View<const V, 4> v, View<O, 4> out, Arena& arena) {
  attend<A>(mixer, q, checked_kv<K, V>(k, v), out,
            static_cast<const View<Accumulator<Q>, 3>*>(nullptr), arena);
}

}  // namespace detail

/// Attention of the whole sequence at once. Throws weft::error when shapes do not fit.
template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<4> Q, ViewLike<4> K,
          ViewLike<4> V, ViewLike<4> O>
void forward(const Softmax<M, S, Z, P>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using E = detail::Element<const Q>;
  const View<const E, 4> queries = view_of(q);
  const auto source = detail::checked_kv<detail::Element<const K>, detail::Element<const V>>(
      view_of(k), view_of(v));
  require(queries.extent(0) == source.k.extent(0), "q has batch size ", queries.extent(0),
          ", k has ", source.k.extent(0));
  detail::attend<A>(mixer, queries, source, view_of(out),
                    static_cast<const View<Accumulator<E>, 3>*>(nullptr), ctx);
}

/// forward, and the natural log-sum-exp of each row in `lse` [B, Hq, N] (fp64 for fp64 queries,
/// else fp32), without any sink: what merging partial results needs.
template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<4> Q, ViewLike<4> K,
          ViewLike<4> V, ViewLike<4> O, ViewLike<3> L>
void forward_with_lse(const Softmax<M, S, Z, P>& mixer, const Q& q, const K& k, const V& v, O&& out,
                      L&& lse, const Context& ctx = Context()) {
  detail::require_lse<Z>();
  using E = detail::Element<const Q>;
  const View<const E, 4> queries = view_of(q);
  const View<Accumulator<E>, 3> sums = view_of(lse);
  const auto source = detail::checked_kv<detail::Element<const K>, detail::Element<const V>>(
      view_of(k), view_of(v));
  require(queries.extent(0) == source.k.extent(0), "q has batch size ", queries.extent(0),
          ", k has ", source.k.extent(0));
  detail::attend<A>(mixer, queries, source, view_of(out), &sums, ctx);
}

/// Attention over any source of keys and values: a cache, pages, quantized storage.
template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<4> Q, KvSource Source,
          ViewLike<4> O>
void forward(const Softmax<M, S, Z, P>& mixer, const Q& q, const Source& source, O&& out,
             const Context& ctx = Context()) {
  using E = detail::Element<const Q>;
  detail::attend<A>(mixer, View<const E, 4>(view_of(q)), source, view_of(out),
                    static_cast<const View<Accumulator<E>, 3>*>(nullptr), ctx);
}

template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<4> Q, KvSource Source,
          ViewLike<4> O, ViewLike<3> L>
void forward_with_lse(const Softmax<M, S, Z, P>& mixer, const Q& q, const Source& source, O&& out,
                      L&& lse, const Context& ctx = Context()) {
  detail::require_lse<Z>();
  using E = detail::Element<const Q>;
  const View<Accumulator<E>, 3> sums = view_of(lse);
  detail::attend<A>(mixer, View<const E, 4>(view_of(q)), source, view_of(out), &sums, ctx);
}

}  // namespace weft
