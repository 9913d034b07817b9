#pragma once

#include <weft/attention/kernelized/few_keys.hpp>

namespace weft {

/// Attention through m latents (Luna: Linear Unified Nested Attention, arXiv:2106.01540).
///
///   packed = softmax(scale p k^T) v                       m latents p read the context
///   out    = softmax(scale q packed^T) packed             and the queries read them
///
/// p [B, H, m, D], q [B, H, N, D], k, v [B, Hk, M, D], packed [B, H, m, D], out [B, H, N, D]. The
/// mask of the context is that of the packing mixer. A layer carries packed on to the next one as
/// its latents, behind a residual and a norm. Packing alone, followed by attention among the
/// latents, is the cross-attention of Perceiver (arXiv:2103.03206). The projections are the
/// caller's; where packed has its own for the second step, call the two softmaxes instead.
///
/// Not causal: the published causal form has another normalizer. Elements fp32 or fp64, one type
/// for all. Throws where shapes do not fit. Time O(B H m (M + N) D).
template <class M = NoMask>
struct Luna {
  M mask{};          ///< of the context, asked with the latents as queries
  double scale = 0;  ///< 0 means 1 / sqrt(D)
};
Luna() -> Luna<>;
template <class M, class... Rest>
Luna(M, Rest...) -> Luna<M>;

template <class A = DefaultArch, class M, ViewLike<4> L, ViewLike<4> Q, ViewLike<4> K,
          ViewLike<4> V, ViewLike<4> P, ViewLike<4> O>
void forward(const Luna<M>& mixer, const L& latents, const Q& q, const K& k, const V& v, P&& packed,
             O&& out, const Context& ctx = Context()) {
  using T = detail::Element<P>;
  const View<const T, 4> summary = view_of(packed);
  require(summary.shape() == view_of(latents).shape(), "Luna: packed is ", summary, ", latents ",
          view_of(latents), "; give them one shape");
  forward<A>(Softmax{mixer.mask, NoScore{}, PlainSoftmax{}, mixer.scale}, latents, k, v, packed,
             ctx);
  Softmax plain;
  plain.scale = mixer.scale;
  forward<A>(plain, q, summary, summary, out, ctx);
}

}  // namespace weft
