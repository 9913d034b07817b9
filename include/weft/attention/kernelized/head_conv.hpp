#pragma once

#include <weft/attention/kernelized/row_ops.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/view.hpp>

namespace weft {

/// Depthwise convolution of a map of tokens with one kernel per head, shared by its channels:
///
///   out[b, h, (r, c), e] += sum_{i, j} w[h, i, j] v[b, h, (r + i - kr / 2, c + j - kc / 2), e]
///
/// a cross-correlation with zeros beyond the borders. w [H, kr, kc] with odd sizes; v and out
/// [B, H, rows columns, E], tokens in raster order, channels adjacent, no overlap. A sequence is a
/// map of one column. Float or double. Throws where shapes do not fit. Time O(B H N E kr kc).
template <class T>
struct HeadConv {
  View<const T, 3> weight;
  Index rows;
  Index columns;
};

namespace detail {

template <class T>
void check_head_conv(const HeadConv<T>& conv, const View<const T, 4>& v, const View<T, 4>& out) {
  require(conv.weight.extent(1) % 2 == 1 && conv.weight.extent(2) % 2 == 1,
          "HeadConv: the kernels are ", conv.weight, ", wanted odd sizes");
  require(v.shape() == out.shape(), "HeadConv: v is ", v, ", out ", out);
  require(conv.weight.extent(0) == v.extent(1), "HeadConv: kernels for ", conv.weight.extent(0),
          " heads, v has ", v.extent(1));
  require(conv.rows >= 0 && conv.columns >= 0 && conv.rows * conv.columns == v.extent(2),
          "HeadConv: a map of ", conv.rows, " x ", conv.columns, ", v has ", v.extent(2),
          " tokens");
  require(v.extent(3) <= 1 || (v.stride(3) == 1 && out.stride(3) == 1),
          "HeadConv: channels must be contiguous");
}

}  // namespace detail

/// out += conv(v).
template <class A = DefaultArch, class T, ViewLike<4> V, ViewLike<4> O>
void add_head_conv(const HeadConv<T>& conv, const V& values, O&& result,
                   const Context& ctx = Context()) {
  const View<const T, 4> v = view_of(values);
  const View<T, 4> out = view_of(result);
  detail::check_head_conv(conv, v, out);
  const Index H = v.extent(1), R = conv.rows, C = conv.columns;
  const Index kr = conv.weight.extent(1), kc = conv.weight.extent(2);
  ctx.parallel(v.extent(0) * H * R, [&](Index task, Arena&) {
    const Index b = task / R / H, h = task / R % H, r = task % R;
    for (Index i = 0; i < kr; ++i) {
      const Index from = r + i - kr / 2;
      if (from < 0 || from >= R) continue;
      for (Index j = 0; j < kc; ++j) {
        const Index shift = j - kc / 2;
        for (Index c = std::max<Index>(0, -shift); c < std::min(C, C - shift); ++c)
          detail::add_scaled<A>(conv.weight(h, i, j), v.pointer(b, h, from * C + c + shift),
                                out.pointer(b, h, r * C + c), v.extent(3));
      }
    }
  });
}

}  // namespace weft
