#pragma once

#include <weft/attention/softmax/axial.hpp>
#include <weft/attention/softmax/grid_score.hpp>
#include <weft/attention/softmax/weight_factor.hpp>
#include <weft/position/rope_frequencies.hpp>

#include <cstdlib>

namespace weft {

/// Manhattan self-attention (RMT: Retentive Networks Meet Vision Transformers, arXiv:2309.11523):
/// a key counts less the farther it is on a grid, by a decay exp(-m_h distance) per head,
///
///   m_h = -ln(1 - 2^(-initial - range h / H)) > 0
///   whole:        out = softmax(scale q k^T - m_h (|dy| + |dx|)) v
///   decomposed:   v1 = softmax(scale q k^T - m_h |dx|) v    within each row of the grid
///                 out = softmax(scale q k^T - m_h |dy|) v1  within each column, the same q and k
///
/// as the published code has it. The paper multiplies by the decay after the softmax instead,
///   whole:        out = (softmax(scale q k^T) * exp(-m_h (|dy| + |dx|))) v
/// and decomposed likewise; then rows do not sum to one. In RMT q and k carry RoPE of the raster
/// index, with `manhattan_frequencies`, and LePE of 5 x 5 is added to the output (lepe.hpp).
///
///   const auto slopes = manhattan_slopes<float>(heads);
///   const auto bias = manhattan_table<float>(slopes.view(), rows, columns);
///   forward(Softmax{NoMask{}, GridBias{bias.view()}}, q, k, v, out);                whole
///   forward_decomposed(slopes.view(), rows, columns, q, k, v, out);                 decomposed
///   const auto decay = manhattan_decay<float>(slopes.view(), rows, columns);        the paper's:
///   forward(Softmax{NoMask{}, WeightFactor{GridFactor{decay.view()}}}, q, k, v, out);
///   forward_axial(mixer_x, mixer_y, rows, columns, q, k, v, out);                   decomposed,
/// with the decays of a grid of 1 x columns and of rows x 1 in the mixers.
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

/// The decay of every offset, for WeightFactor{GridFactor}.
template <class T>
Tensor<T, 3> manhattan_decay(std::type_identity_t<View<const T, 1>> slopes, Index rows,
                             Index columns) {
  Tensor<T, 3> table = manhattan_table<T>(slopes, rows, columns);
  for (T& x : table.span()) x = std::exp(x);
  return table;
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

/// The decomposed form, see axial.hpp for the shapes; slopes [H].
template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward_decomposed(View<T, 1> slopes, Index rows, Index columns, const Q& q, const K& k,
                        const V& v, O&& out, const Context& ctx = Context()) {
  const Softmax mixer{NoMask{}, Alibi<std::remove_const_t<T>>(slopes)};
  forward_axial<A>(mixer, mixer, rows, columns, q, k, v, out, ctx);
}

}  // namespace weft
