#pragma once

#include <weft/attention/linear/decorated_feature.hpp>
#include <weft/attention/linear/mixer.hpp>
#include <weft/layer/depthwise_conv.hpp>
#include <weft/layer/heads.hpp>

namespace weft {

/// Simplified linear attention of images (SLAB: Efficient Transformers with Simplified Linear
/// Attention and Progressive Re-parameterized Batch Normalization, arXiv:2405.11582):
///
///   q_i' = relu(q_i),  k_j' = relu(k_j + position_j)                       per head
///   out_i = sum_j (q_i' . k_j') v_j / (sum_j q_i' . k_j' + eps) + conv(v)_i
///
/// q, k, v, out are maps [B, rows, columns, C] of H heads in raster order, position [N, C] for the
/// N = rows columns tokens, conv a depthwise convolution of C channels, 5 x 5 in the paper and
/// shared by the heads (shared_by_heads). Always in the order that is linear in N; the published
/// code takes the other one where N is small, which gives the same numbers up to rounding.
///
/// Time O(B N C (C / H + k^2)). Throws where shapes disagree.
template <class T = float, class ConvArch = DefaultArch>
struct SimplifiedAttention {
  Index heads;
  View<const T, 2> position;
  const DepthwiseConv<T, ConvArch>* conv;  ///< must live as long as the mixer
  double eps = 1e-6;
};

template <class A = DefaultArch, class T, class CA, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const SimplifiedAttention<T, CA>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  const auto heads = [&](auto view) { return heads_of_map(view, mixer.heads); };
  const auto values = view_of(v);
  const Index tokens = values.extent(1) * values.extent(2);
  require(mixer.position.extent(0) == tokens, "SimplifiedAttention: ", mixer.position.extent(0),
          " positions for ", tokens, " tokens");
  const auto table = heads_of_tokens(unsqueeze(mixer.position), mixer.heads).select(0, 0);
  const LinearAttention linear{PositionedKeys<Relu, T>{{}, table},
                               NoDecay{},
                               Additive{},
                               PlusEpsilon{mixer.eps},
                               1.0,
                               Order::bidirectional};
  forward<A>(linear, heads(view_of(q)), heads(view_of(k)), heads(values), heads(view_of(out)), ctx);
  mixer.conv->add(values, view_of(out), ctx);
}

}  // namespace weft
