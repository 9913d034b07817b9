#pragma once

#include <weft/attention/softmax/grid_score.hpp>
#include <weft/attention/softmax/mixer.hpp>
#include <weft/position/rope_frequencies.hpp>

#include <cstdlib>

namespace weft {

/// Manhattan self-attention (RMT: Retentive Networks Meet Vision Transformers, arXiv:2309.11523):
/// logits fall with the Manhattan distance of two tokens on a grid, by a slope per head,
///
///   m_h = -ln(1 - 2^(-initial - range h / H)) > 0
///   whole:        out = softmax(scale q k^T - m_h (|dy| + |dx|)) v
///   decomposed:   v1 = softmax(scale q k^T - m_h |dx|) v    within each row of the grid
///                 out = softmax(scale q k^T - m_h |dy|) v1  within each column, the same q and k
///
/// as the published code has it; the paper multiplies the weights by exp(-m_h distance) after the
/// softmax instead. The two forms differ unless the grid is one row or column. In RMT q and k carry
/// RoPE of the raster index, with `manhattan_frequencies`, and LePE of 5 x 5 is added to the output
/// (attention/softmax/lepe.hpp).
///
///   const auto slopes = manhattan_slopes<float>(heads);
///   const auto table = manhattan_table<float>(slopes.view(), rows, columns);
///   forward(Softmax{NoMask{}, GridBias{table.view()}}, q, k, v, out);           whole
///   forward_decomposed(slopes.view(), rows, columns, q, k, v, out);             decomposed
///
/// Time O(B H (rows columns)^2 D) whole, O(B H rows columns (rows + columns) D) decomposed. Throws
/// where sizes are not positive or do not agree with the grid.
template <class T = float>
Tensor<T, 1> manhattan_slopes(Index heads, double initial = 2, double range = 4) {
  require(heads >= 1, "manhattan_slopes: heads is ", heads, ", at least one is needed");
  require(initial > 0 && range >= 0 && std::isfinite(initial + range),
          "manhattan_slopes: initial is ", initial, " and range ", range,
          ", wanted a positive and a non-negative number");
  Tensor<T, 1> slopes({heads});
  for (Index h = 0; h < heads; ++h) {
    const double share = static_cast<double>(h) / static_cast<double>(heads);
    slopes(h) = static_cast<T>(-std::log1p(-std::exp2(-initial - range * share)));
  }
  return slopes;
}

/// The bias of every offset, for GridBias.
template <class T>
Tensor<T, 3> manhattan_table(std::type_identity_t<View<const T, 1>> slopes, Index rows,
                             Index columns) {
  return grid_table<T>(slopes.extent(0), rows, columns, [&](Index h, Index dy, Index dx) {
    return -slopes(h) * static_cast<T>(std::abs(dy) + std::abs(dx));
  });
}

/// Frequencies of RMT's RoPE, interleaved over the raster index: 10000^(-i / (D / 2 - 1)), so that
/// the last pair reaches 10000 itself. Throws when D is odd or not positive.
inline RopeFrequencies manhattan_frequencies(Index channels) {
  detail::check_rope(channels, 1e4);
  RopeFrequencies f;
  f.radians.resize(static_cast<std::size_t>(channels / 2));
  const double last = static_cast<double>(std::max<Index>(channels / 2 - 1, 1));
  for (std::size_t i = 0; i < f.radians.size(); ++i)
    f.radians[i] = std::pow(1e4, -static_cast<double>(i) / last);
  return f;
}

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

}  // namespace detail

/// The decomposed form. q [B, Hq, N, D], k [B, Hk, N, D], v [B, Hk, N, E], out [B, Hq, N, E] with
/// N = rows columns, slopes [Hq] and Hq = Hk: what the first pass writes are the values of the
/// second. Scratch memory B = 1, Hq N E sums.
template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward_decomposed(View<T, 1> slopes, Index rows, Index columns, const Q& q, const K& k,
                        const V& v, O&& out, const Context& ctx = Context()) {
  using P = Accumulator<detail::Element<const Q>>;
  const auto queries = view_of(q);
  const auto keys = view_of(k);
  const auto values = view_of(v);
  const auto to = view_of(out);
  const Index heads = queries.extent(1), tokens = rows * columns;
  for (const Index n : {queries.extent(2), keys.extent(2), values.extent(2), to.extent(2)})
    require(rows >= 1 && columns >= 1 && n == tokens, "forward_decomposed: grid of ", rows, " x ",
            columns, ", but there are ", n, " tokens");
  require(keys.extent(1) == heads && values.extent(1) == heads && to.extent(1) == heads,
          "forward_decomposed: q has ", heads, " heads, k ", keys.extent(1), ", v ",
          values.extent(1), ", out ", to.extent(1), "; give all the same number");
  for (const Index b : {keys.extent(0), values.extent(0), to.extent(0)})
    require(b == queries.extent(0), "forward_decomposed: q has batch size ", queries.extent(0),
            ", another argument ", b);
  const Softmax mixer{NoMask{}, Alibi<std::remove_const_t<T>>(slopes)};
  const Arena::Frame frame(ctx.arena());
  const Index channels = values.extent(3);
  const View<P, 4> middle(ctx.arena().template take<P>(heads * tokens * channels),
                          {1, heads, tokens, channels});
  for (Index b = 0; b < queries.extent(0); ++b) {
    const auto across = [&](const auto& x, Index image) {
      return detail::grid_lines(x, image, rows, columns, columns, 1);
    };
    const auto down = [&](const auto& x, Index image) {
      return detail::grid_lines(x, image, columns, 1, rows, columns);
    };
    forward<A>(mixer, across(queries, b), across(keys, b), across(values, b), across(middle, 0),
               ctx);
    forward<A>(mixer, down(queries, b), down(keys, b), down(middle, 0), down(to, b), ctx);
  }
}

}  // namespace weft
