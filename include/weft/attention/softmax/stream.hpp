#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/cache/kv_cache.hpp>
#include <weft/cache/paged_kv.hpp>

/// Softmax attention token by token or chunk by chunk, over a cache of what came before.
///
///   auto state = make_state(mixer, {.batch = B, .kv_heads = Hk, .capacity = 4096, .key_dim = D});
///   prefill(mixer, state, q, k, v, out);      n tokens: q [B, Hq, n, D], k [B, Hk, n, D], v, out
///   step(mixer, state, q, k, v, out);         one token: q [B, Hq, D], k [B, Hk, D], v, out
///
/// Both append k and v and let the new queries see the cache: row for row what forward gives on the
/// whole sequence. The mask must be causal with bottom-right alignment, and the normalizer must not
/// depend on how many keys there are in all.
namespace weft {

namespace detail {

template <class M, class S, class Z, class P>
void require_streaming(const Softmax<M, S, Z, P>& mixer) {
  static_assert(CausalMask<M>,
                "prefill and step need a mask that hides later tokens: combine yours with Causal");
  require(mixer.mask.is_causal(),
          "prefill and step need a causal mask aligned to the bottom right");
  if constexpr (requires { mixer.normalizer.is_streaming(); })
    require(mixer.normalizer.is_streaming(),
            "prefill and step need a normalizer that does not depend on the number of keys");
}

}  // namespace detail

/// A cache that suits the mixer; T is its storage type.
template <class T = float, class M, class S, class Z, class P>
KvCache<T> make_state(const Softmax<M, S, Z, P>& mixer, const CacheSizes& sizes) {
  detail::require_streaming(mixer);
  return KvCache<T>(sizes);
}

template <class A = DefaultArch, class M, class S, class Z, class P, class T, ViewLike<4> Q,
          ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void prefill(const Softmax<M, S, Z, P>& mixer, KvCache<T>& state, const Q& q, const K& k,
             const V& v, O&& out, const Context& ctx = Context()) {
  detail::require_streaming(mixer);
  const View<const detail::Element<const K>, 4> keys = view_of(k);
  require(view_of(q).extent(2) == keys.extent(2), "prefill: q brings ", view_of(q).extent(2),
          " tokens, k ", keys.extent(2));
  const Index before = state.length();
  state.append(keys, View<const detail::Element<const V>, 4>(view_of(v)));
#if defined(__cpp_exceptions)
  try {
    forward<A>(mixer, q, state.keys(), state.values(), out, ctx);
  } catch (...) {
    state.truncate(before);
    throw;
  }
#else
  (void)before;
  forward<A>(mixer, q, state.keys(), state.values(), out, ctx);
#endif
}

template <class A = DefaultArch, class M, class S, class Z, class P, class T, ViewLike<3> Q,
          ViewLike<3> K, ViewLike<3> V, ViewLike<3> O>
void step(const Softmax<M, S, Z, P>& mixer, KvCache<T>& state, const Q& q, const K& k, const V& v,
          O&& out, const Context& ctx = Context()) {
  prefill<A>(mixer, state, detail::token_of(q), detail::token_of(k), detail::token_of(v),
             detail::one_token(view_of(out)), ctx);
}

/// The same over pages: the table must already name the blocks of the new tokens.
template <class A = DefaultArch, class M, class S, class Z, class P, class T, class U,
          ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void prefill(const Softmax<M, S, Z, P>& mixer, PagedKv<T, U>& state, const Q& q, const K& k,
             const V& v, O&& out, const Context& ctx = Context()) {
  detail::require_streaming(mixer);
  require(view_of(q).extent(2) == view_of(k).extent(2), "prefill: q brings ", view_of(q).extent(2),
          " tokens, k ", view_of(k).extent(2));
  state.append(view_of(k), view_of(v));
  forward<A>(mixer, q, state, out, ctx);
}

}  // namespace weft
