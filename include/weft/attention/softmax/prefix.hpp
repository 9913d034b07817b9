#pragma once

#include <weft/attention/softmax/mixer.hpp>

namespace weft {

/// Attention with learned keys and values in front (Prefix-Tuning, arXiv:2101.00190):
///
///   out = mixer(q, [prefix_k; k], [prefix_v; v])
///
/// prefix_k [B or 1, Hk, P, D] and prefix_v [B or 1, Hk, P, E] are already projected; a batch of 1
/// serves all. Nothing is copied: the engine reads the two one after the other. To masks and scores
/// the prefix is keys 0 .. P - 1, so that a causal mask aligned to the bottom right always shows it
/// and no position of a token moves (our choice: published code differs there).
///
/// The relatives need no function of their own:
///   Visual Query Tuning (arXiv:2212.03220): queries of prompts and tokens, keys and values of the
///     tokens alone: forward(Softmax{}, pz_q, z_k, z_v, out). The rows of the tokens are bit for
///     bit what they are without prompts.
///   Visual Prompt Tuning (arXiv:2203.12119): prompts are tokens: forward over [P; Z] in all three.
///
/// Throws where shapes disagree. Time that of the mixer over P + M keys.
template <class K, class V>
struct PrefixKv {
  ContiguousKv<K, V> prefix, rest;

  Index length() const noexcept { return prefix.k.extent(2); }  ///< P
  Index keys(Index b) const noexcept { return length() + rest.keys(b); }
  Index kv_heads() const noexcept { return rest.kv_heads(); }
  Index key_dim() const noexcept { return rest.key_dim(); }
  Index value_dim() const noexcept { return rest.value_dim(); }
  KvRun<K, V> run(Index b, Index h, Index j) const noexcept {
    return j < length() ? prefix.run(b, h, j) : rest.run(b, h, j - length());
  }
};
static_assert(KvSource<PrefixKv<float, float>>);

namespace detail {

/// A prefix for the batch and heads of what it comes before.
template <class T>
View<const T, 4> prefix_of(const char* name, View<const T, 4> prefix, const View<const T, 4>& x) {
  require((prefix.extent(0) == 1 || prefix.extent(0) == x.extent(0)) &&
              prefix.extent(1) == x.extent(1) && prefix.extent(3) == x.extent(3),
          "forward_prefix: the prefix of ", name, " is ", prefix, ", ", name, " is ", x,
          "; wanted its heads and channels, and its batch size or 1");
  return prefix.broadcast({x.extent(0), x.extent(1), prefix.extent(2), x.extent(3)});
}

}  // namespace detail

template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<4> Q, ViewLike<4> PK,
          ViewLike<4> PV, ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void forward_prefix(const Softmax<M, S, Z, P>& mixer, const Q& q, const PK& prefix_k,
                    const PV& prefix_v, const K& k, const V& v, O&& out,
                    const Context& ctx = Context()) {
  using KE = detail::Element<const K>;
  using VE = detail::Element<const V>;
  const auto rest = detail::checked_kv<KE, VE>(view_of(k), view_of(v));
  const auto prefix =
      detail::checked_kv<KE, VE>(detail::prefix_of<KE>("k", view_of(prefix_k), rest.k),
                                 detail::prefix_of<VE>("v", view_of(prefix_v), rest.v));
  require(view_of(q).extent(0) == rest.k.extent(0), "q has batch size ", view_of(q).extent(0),
          ", k has ", rest.k.extent(0));
  forward<A>(mixer, q, PrefixKv<KE, VE>{prefix, rest}, out, ctx);
}

}  // namespace weft
