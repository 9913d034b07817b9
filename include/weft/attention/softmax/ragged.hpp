#pragma once

#include <weft/attention/softmax/mixer.hpp>

/// Ragged batches: sequences of different lengths laid end to end, without padding
/// (ByteTransformer, arXiv:2210.03052).
///
///   q [Tq, Hq, D], k [Tk, Hk, D], v [Tk, Hk, E], out [Tq, Hq, E], lse [Tq, Hq]
///   cu_q, cu_k [B + 1]: prefix sums of the lengths; cu[0] = 0, cu[B] = the total
///
/// Sequence b attends to itself alone; bottom-right alignment and N, M are those of the sequence.
/// Lengths may be zero. The work is that of the sequences, cut into tasks one by one.
namespace weft {

namespace detail {

template <class A, class M, class S, class Z, class P, class Q, class K, class V, class O>
void attend_ragged(const Softmax<M, S, Z, P>& mixer, View<const Q, 3> q, View<const K, 3> k,
                   View<const V, 3> v, View<const std::int32_t, 1> cu_q,
                   View<const std::int32_t, 1> cu_k, View<O, 3> out,
                   const View<Accumulator<Q>, 2>* lse, const Context& ctx) {
  using T = Accumulator<Q>;
  require_channels(k, "k");
  require_channels(v, "v");
  require_axis(k, "k", v, "v", 0, "number of tokens");
  require_axis(k, "k", v, "v", 1, "heads");
  require(cu_q.extent(0) == cu_k.extent(0), "cu_q has ", cu_q.extent(0), " entries, cu_k has ",
          cu_k.extent(0));
  require(cu_q.stride(0) == 1 && cu_k.stride(0) == 1, "cu_q and cu_k must be contiguous");
  check_prefix_sums(cu_q, q.extent(0), "cu_q");
  check_prefix_sums(cu_k, k.extent(0), "cu_k");
  const RaggedKv<K, V> source{k, v, cu_k};
  const auto as_batch = [](auto view) { return unsqueeze(view).transpose(1, 2); };
  Problem<T> p = problem_of<T, A>(as_batch(q), as_batch(out), erase_kv<T, A>(source),
                                  scale_of(mixer, k.extent(2)));
  p.batch = cu_q.extent(0) - 1;
  p.cu_q = cu_q.data();
  p.queries = 0;
  for (Index b = 0; b < p.batch; ++b) p.queries = std::max(p.queries, p.queries_of(b));
  if (lse != nullptr) {
    require(lse->extent(0) == q.extent(0) && lse->extent(1) == q.extent(1), "lse ", *lse,
            " must be [Tq, H] for q ", q);
    p.lse = {lse->data(), 0, lse->stride(1), lse->stride(0)};
  }
  run_attention<A>(mixer, p, ctx);
}

}  // namespace detail

/// Throws weft::error when shapes or prefix sums do not fit.
template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<3> Q, ViewLike<3> K,
          ViewLike<3> V, ViewLike<1> C, ViewLike<3> O>
void forward_ragged(const Softmax<M, S, Z, P>& mixer, const Q& q, const K& k, const V& v,
                    const C& cu_q, const C& cu_k, O&& out, const Context& ctx = Context()) {
  using E = detail::Element<const Q>;
  detail::attend_ragged<A, M, S, Z, P, E, detail::Element<const K>, detail::Element<const V>>(
      mixer, view_of(q), view_of(k), view_of(v), view_of(cu_q), view_of(cu_k), view_of(out),
      nullptr, ctx);
}

template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<3> Q, ViewLike<3> K,
          ViewLike<3> V, ViewLike<1> C, ViewLike<3> O, ViewLike<2> L>
void forward_ragged_with_lse(const Softmax<M, S, Z, P>& mixer, const Q& q, const K& k, const V& v,
                             const C& cu_q, const C& cu_k, O&& out, L&& lse,
                             const Context& ctx = Context()) {
  detail::require_lse<Z>();
  using E = detail::Element<const Q>;
  const View<Accumulator<E>, 2> sums = view_of(lse);
  detail::attend_ragged<A, M, S, Z, P, E, detail::Element<const K>, detail::Element<const V>>(
      mixer, view_of(q), view_of(k), view_of(v), view_of(cu_q), view_of(cu_k), view_of(out), &sums,
      ctx);
}

}  // namespace weft
