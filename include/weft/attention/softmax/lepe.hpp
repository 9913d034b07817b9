#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/layer/depthwise_conv.hpp>

namespace weft {

/// Tokens of a map as heads: x [B, rows, columns, H D], channels h D .. (h + 1) D being head h,
/// seen as [B, H, rows columns, D] in raster order. Throws unless H divides the channels and one
/// stride leads from each token to the next, which it does in a map without gaps between its rows.
template <class T>
View<T, 4> heads_of_map(const View<T, 4>& x, Index heads) {
  require(heads >= 1 && x.extent(3) % heads == 0, "heads_of_map: ", heads, " heads share ",
          x.extent(3), " channels; the first must divide the second");
  require(x.extent(1) <= 1 || x.stride(1) == x.extent(2) * x.stride(2),
          "heads_of_map: the rows of ", x, " must follow one another in memory");
  const Index channels = x.extent(3) / heads;
  return {x.data(),
          {x.extent(0), heads, x.extent(1) * x.extent(2), channels},
          {x.stride(0), channels * x.stride(3), x.stride(2), x.stride(3)}};
}

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
