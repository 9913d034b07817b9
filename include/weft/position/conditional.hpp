#pragma once

#include <weft/layer/depthwise_conv.hpp>

namespace weft {

/// Conditional position encoding by a position encoding generator (Conditional Positional Encodings
/// for Vision Transformers, arXiv:2102.10882):
///
///   y = x + conv(x)
///
/// over the spatial tokens of a map [B, rows, columns, C] in raster order; the zeros beyond the
/// borders are what tells a token where it is. A class token goes by: hand over the spatial ones.
/// conv is depthwise, 3 x 3 in the paper; with weights and bias of zero y = x. x and y must not
/// overlap. Throws where shapes disagree. Time O(B rows columns C k^2).
template <class A = DefaultArch, class T, ViewLike<4> X, ViewLike<4> Y>
void add_conditional_position(const DepthwiseConv<T, A>& conv, const X& x, Y&& y,
                              const Context& ctx = Context()) {
  conv.apply_residual(x, y, ctx);
}

}  // namespace weft
