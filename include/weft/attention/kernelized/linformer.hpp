#pragma once

#include <weft/attention/kernelized/few_keys.hpp>

namespace weft {

/// Attention to linear combinations of the tokens (Linformer: Self-Attention with Linear
/// Complexity, arXiv:2006.04768).
///
///   out = softmax(scale q (E k)^T) (F v)                  E, F [R, M], the same for every query
///
/// q [B, Hq, N, D], k [B, Hk, M, D], v [B, Hk, M, E], out [B, Hq, N, E]; `keys` and `values` are E
/// and F as [Hk, R, M'], or [1, R, M'] for all heads, M' >= M, of which a shorter input uses the
/// first M columns. One view for both is the paper's key-value sharing. Tokens that `tokens`
/// [B, M] marks with 0 count as zeros in the combinations; there is no mask in the softmax, so not
/// causal. R = M and E = F = 1 is plain attention.
///
/// Elements fp32 or fp64, one type for all. Throws where shapes do not fit. Time
/// O(B H R (M + N) (D + E)), scratch memory O(B H R (D + E)).
template <class T = float>
struct Linformer {
  View<const T, 3> keys;
  View<const T, 3> values;
  View<const std::uint8_t, 2> tokens = {};
  double scale = 0;  ///< 0 means 1 / sqrt(D)
};

namespace detail {

/// P [h or 1, R, first M columns] x for every head of x [B, H, M, D].
template <class A, class T>
View<T, 4> combine_tokens(const char* name, const View<const T, 3>& projection,
                          const View<const T, 4>& x, const Context& ctx) {
  const Index heads = projection.extent(0), M = x.extent(2);
  require((heads == 1 || heads == x.extent(1)) && projection.extent(2) >= M, "Linformer: ", name,
          " is ", projection, ", wanted [", x.extent(1), " or 1, R, ", M, " or more]");
  const View<const T, 3> used = projection.slice(2, 0, M);
  const View<T, 4> out =
      scratch<T, 4>(ctx.arena(), {x.extent(0), x.extent(1), projection.extent(1), x.extent(3)});
  for_each_head(x.extent(0), x.extent(1), [&](Index b, Index h) {
    gemm<A>(used.select(0, heads == 1 ? 0 : h), head_of(x, b, h), head_of(out, b, h), ctx);
  });
  return out;
}

}  // namespace detail

template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const Linformer<T>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  const auto all = detail::checked_kv<T, T>(view_of(k), view_of(v));
  detail::check_token_mask(mixer.tokens, all.k.extent(0), all.k.extent(2));
  require(mixer.keys.extent(1) == mixer.values.extent(1), "Linformer: ", mixer.keys.extent(1),
          " combinations of keys, ", mixer.values.extent(1), " of values");
  const Arena::Frame frame(ctx.arena());
  const auto existing = [&](const View<const T, 4>& x) {
    return detail::without_masked<T>(x, mixer.tokens, ctx.arena());
  };
  const auto few_keys = detail::combine_tokens<A, T>("keys", mixer.keys, existing(all.k), ctx);
  const auto few_values =
      detail::combine_tokens<A, T>("values", mixer.values, existing(all.v), ctx);
  Softmax plain;
  plain.scale = mixer.scale;
  forward<A>(plain, q, few_keys, few_values, out, ctx);
}

}  // namespace weft
