#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/layer/depthwise_conv.hpp>
#include <weft/layer/heads.hpp>

namespace weft {

/// Locally enhanced position encoding (CSWin Transformer, arXiv:2107.00652; RMT, arXiv:2309.11523):
///
///   out = mixer(q, k, v) + conv(v)
///
/// q, k, v, out are maps [B, rows, columns, C] of `heads` heads, tokens in raster order, and conv a
/// depthwise convolution of C channels (3 x 3 in CSWin, where the maps are its stripe windows with
/// zeros at their own borders; 5 x 5 on the whole map in RMT). With weights and bias of zero it is
/// plain attention. q and k may have other channels than v. Throws where shapes disagree. Time that
/// of the mixer and O(B rows columns C k^2).
template <class A = DefaultArch, class M, class S, class Z, class P, class T, ViewLike<4> Q,
          ViewLike<4> K, ViewLike<4> V, ViewLike<4> O>
void forward_lepe(const Softmax<M, S, Z, P>& mixer, const DepthwiseConv<T, A>& conv, Index heads,
                  const Q& q, const K& k, const V& v, O&& out, const Context& ctx = Context()) {
  require(view_of(v).shape() == view_of(out).shape(), "forward_lepe: v is ", view_of(v),
          ", out is ", view_of(out), "; both are [B, rows, columns, C]");
  forward<A>(mixer, heads_of_map(view_of(q), heads), heads_of_map(view_of(k), heads),
             heads_of_map(view_of(v), heads), heads_of_map(view_of(out), heads), ctx);
  conv.add(v, out, ctx);
}

}  // namespace weft
