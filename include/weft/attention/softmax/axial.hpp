#pragma once

#include <weft/attention/softmax/mixer.hpp>

namespace weft {

/// Attention along the axes of a grid, one after the other and with the same queries and keys:
///
///   v1  = mixer_x(q, k, v)  within each row of the grid
///   out = mixer_y(q, k, v1) within each column
///
/// N = rows columns tokens in raster order; q [B, Hq, N, D], k [B, Hk, N, D], v [B, Hk, N, E], out
/// [B, Hq, N, E] with Hq = Hk, because what the first pass writes are the values of the second. To
/// the policies of a mixer a row has `columns` tokens and a column has `rows`. No tokens are moved:
/// rows and columns are read in place.
///
/// Throws where sizes do not agree with the grid. Time O(B H N (rows + columns) (D + E)), scratch
/// memory one image of Hq N E sums.
template <class A = DefaultArch, class MixerX, class MixerY, ViewLike<4> Q, ViewLike<4> K,
          ViewLike<4> V, ViewLike<4> O>
void forward_axial(const MixerX& along_x, const MixerY& along_y, Index rows, Index columns,
                   const Q& q, const K& k, const V& v, O&& out, const Context& ctx = Context());

namespace detail {

/// The tokens of image b as [lines, H, tokens of a line, D]: the lines of a grid become a batch.
/// Token t of line l is token l line_step + t token_step of the image.
template <class T>
View<T, 4> grid_lines(const View<T, 4>& x, Index b, Index lines, Index line_step, Index tokens,
                      Index token_step) {
  return {x.pointer(b),
          {lines, x.extent(1), tokens, x.extent(3)},
          {line_step * x.stride(2), x.stride(1), token_step * x.stride(2), x.stride(3)}};
}

template <class Q, class K, class V, class O>
void check_axial(Index rows, Index columns, const View<Q, 4>& q, const View<K, 4>& k,
                 const View<V, 4>& v, const View<O, 4>& out) {
  for (const Index n : {q.extent(2), k.extent(2), v.extent(2), out.extent(2)})
    require(rows >= 1 && columns >= 1 && n == rows * columns, "forward_axial: grid of ", rows,
            " x ", columns, ", but there are ", n, " tokens");
  const Index heads = q.extent(1);
  require(k.extent(1) == heads && v.extent(1) == heads && out.extent(1) == heads,
          "forward_axial: q has ", heads, " heads, k ", k.extent(1), ", v ", v.extent(1), ", out ",
          out.extent(1), "; give all the same number");
  for (const Index b : {k.extent(0), v.extent(0), out.extent(0)})
    require(b == q.extent(0), "forward_axial: q has batch size ", q.extent(0),
            ", another argument ", b);
}

}  // namespace detail

template <class A, class MixerX, class MixerY, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward_axial(const MixerX& along_x, const MixerY& along_y, Index rows, Index columns,
                   const Q& q, const K& k, const V& v, O&& out, const Context& ctx) {
  using P = Accumulator<detail::Element<const Q>>;
  const auto queries = view_of(q);
  const auto keys = view_of(k);
  const auto values = view_of(v);
  const auto to = view_of(out);
  detail::check_axial(rows, columns, queries, keys, values, to);
  const Arena::Frame frame(ctx.arena());
  const std::array<Index, 4> shape{1, queries.extent(1), rows * columns, values.extent(3)};
  const View<P, 4> middle(ctx.arena().template take<P>(shape[1] * shape[2] * shape[3]), shape);
  const auto across = [&](const auto& x, Index image) {
    return detail::grid_lines(x, image, rows, columns, columns, 1);
  };
  const auto down = [&](const auto& x, Index image) {
    return detail::grid_lines(x, image, columns, 1, rows, columns);
  };
  for (Index b = 0; b < queries.extent(0); ++b) {
    forward<A>(along_x, across(queries, b), across(keys, b), across(values, b), across(middle, 0),
               ctx);
    forward<A>(along_y, down(queries, b), down(keys, b), down(middle, 0), down(to, b), ctx);
  }
}

}  // namespace weft
