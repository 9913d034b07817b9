#pragma once

#include <weft/attention/softmax/mixer.hpp>

namespace weft {

/// Positional attention (Positional Attention: Expressivity and Learnability of Algorithmic
/// Computation, arXiv:2410.01686): queries and keys come from the positions alone, so one set of
/// weights serves every batch element.
///
///   A[h] = softmax(q[h] k[h]^T / sqrt(P)),    out[b, h] = A[h] v[b, h]
///
/// q [Hq, N, P] and k [Hk, M, P] are linear maps of the position vectors, v [B, Hk, M, E] of the
/// inputs, out [B, Hq, N, E]; out is linear in v. Any mixer; its mask and score see batch 0. The
/// batch joins the channels of v, so that the logits and their softmax are computed once for every
/// 256 / E batch elements. Values may be fp32, or fp64 with fp64 queries.
///
/// Throws where shapes disagree. Time O(B Hq N M E + B E / 256 Hq N M P); scratch memory for
/// 256 channels of v and out.
namespace detail {

/// As many channels of values as the engine keeps in its cache beside the rest.
inline constexpr Index kSharedChannels = 256;

/// Batch elements b0 .. b0 + n of x [B, H, N, E] side by side, as `wide` [1, H, N, n E]: copied
/// there, or back when `Back`.
template <bool Back, class X, class T>
void join_batch(const View<X, 4>& x, Index b0, Index n, const View<T, 4>& wide) {
  const Index channels = x.extent(3);
  for (Index h = 0; h < x.extent(1); ++h)
    for (Index i = 0; i < x.extent(2); ++i)
      for (Index b = 0; b < n; ++b) {
        T* joined = wide.pointer(0, h, i, b * channels);
        if constexpr (Back)
          std::copy_n(joined, channels, x.pointer(b0 + b, h, i));
        else
          std::copy_n(x.pointer(b0 + b, h, i), channels, joined);
      }
}

}  // namespace detail

template <class A = DefaultArch, class M, class S, class Z, class P, ViewLike<3> Q, ViewLike<3> K,
          ViewLike<4> V, ViewLike<4> O>
void forward_positional(const Softmax<M, S, Z, P>& mixer, const Q& q, const K& k, const V& v,
                        O&& out, const Context& ctx = Context()) {
  const auto queries = unsqueeze(view_of(q));
  const auto keys = unsqueeze(view_of(k));
  const auto values = view_of(v);
  const auto to = view_of(out);
  using T = Accumulator<detail::Element<const Q>>;
  static_assert(
      std::is_same_v<detail::Element<const V>, T> && std::is_same_v<detail::Element<O>, T>,
      "forward_positional: v and out are fp32, or fp64 with fp64 queries");
  const Index batch = values.extent(0), heads = queries.extent(1), channels = values.extent(3);
  require(to.extent(0) == batch && to.extent(1) == heads && to.extent(2) == queries.extent(2) &&
              to.extent(3) == channels,
          "forward_positional: out is ", to, ", wanted [", batch, ", ", heads, ", ",
          queries.extent(2), ", ", channels, "]");
  detail::require_channels(values, "v");
  detail::require_channels(to, "out");
  const Index at_once =
      std::clamp<Index>(detail::kSharedChannels / channels, 1, std::max<Index>(batch, 1));
  const Arena::Frame frame(ctx.arena());
  const auto wide = [&](const auto& x) {
    return ctx.arena().template take<T>(x.extent(1) * x.extent(2) * channels * at_once);
  };
  T* const wide_values = wide(values);
  T* const wide_out = wide(to);
  for (Index b = 0; b < batch; b += at_once) {
    const Index n = std::min(at_once, batch - b);
    const View<T, 4> from(wide_values, {1, values.extent(1), values.extent(2), n * channels});
    const View<T, 4> result(wide_out, {1, heads, to.extent(2), n * channels});
    detail::join_batch<false>(values, b, n, from);
    forward<A>(mixer, queries, keys, from, result, ctx);
    detail::join_batch<true>(to, b, n, result);
  }
}

}  // namespace weft
