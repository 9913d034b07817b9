#pragma once

#include <weft/position/rope.hpp>

namespace weft {

/// Rotary position embedding of tokens at (y, x) on a grid: half of the channels turns by one
/// coordinate, the other half by the other, each as RoPE of D / 2 channels. So the product of a
/// query and a key depends on (y_q - y_k, x_q - x_k). Three conventions are in use, and no two of
/// them agree:
///
///                          first D / 2 channels   pairs within each half   frequencies
///   FiTv2  2410.13925      y                      (2i, 2i + 1)             theta^(-2i / (D/2))
///   CroCo  2211.10408      y                      (i, i + D / 4)           F0 100^(-2i / (D/2))
///   SAM 2  2408.00714      x                      (2i, 2i + 1)             theta^(-2i / (D/2))
///
/// (EfficientTAM, arXiv:2411.18933, follows SAM 2.) theta = 10000. FiTv2 stretches the frequencies
/// of either axis with the scalings of rope_frequencies.hpp over D / 2 channels.
enum class GridAxis { y, x };

/// Tables for both halves. Positions 0 .. extent - 1 of either axis.
template <class T = float>
class AxialRope {
 public:
  /// Throws when the two do not have the same number of channels.
  AxialRope(const RopeFrequencies& along_y, const RopeFrequencies& along_x, RopeLayout layout,
            GridAxis first, Index extent)
      : y_(along_y, layout, extent), x_(along_x, layout, extent), first_(first) {
    require(along_y.rotary() == along_x.rotary(), "AxialRope: ", along_y.rotary(),
            " channels along y, ", along_x.rotary(), " along x; they have half of D each");
  }

  const RopeTable<T>& along_y() const noexcept { return y_; }
  const RopeTable<T>& along_x() const noexcept { return x_; }
  GridAxis first() const noexcept { return first_; }
  Index channels() const noexcept { return 2 * y_.rotary(); }  ///< D

 private:
  RopeTable<T> y_, x_;
  GridAxis first_;
};

namespace detail {

inline Index axial_channels(const char* name, Index channels) {
  require(channels >= 4 && channels % 4 == 0, name, ": ", channels,
          " channels; they turn in pairs along two axes, give a multiple of 4");
  return channels / 2;
}

}  // namespace detail

/// CroCo v2. Throws unless 4 divides D.
template <class T = float>
AxialRope<T> croco_rope(Index channels, Index extent, double base = 100, double f0 = 1) {
  RopeFrequencies f = rope_frequencies(detail::axial_channels("croco_rope", channels), base);
  for (double& radians : f.radians) radians *= f0;
  return {f, f, RopeLayout::half, GridAxis::y, extent};
}

/// SAM 2 and EfficientTAM. Throws unless 4 divides D.
template <class T = float>
AxialRope<T> sam2_rope(Index channels, Index extent, double theta = 1e4) {
  const auto f = rope_frequencies(detail::axial_channels("sam2_rope", channels), theta);
  return {f, f, RopeLayout::interleaved, GridAxis::x, extent};
}

/// FiTv2 from the frequencies of its axes, which `fit_factor` helps to stretch:
///   rope_frequencies(D / 2, 1e4, RopeYarn{fit_factor(longest, original), original})
template <class T = float>
AxialRope<T> fit_rope(const RopeFrequencies& along_y, const RopeFrequencies& along_x,
                      Index extent) {
  return {along_y, along_x, RopeLayout::interleaved, GridAxis::y, extent};
}

/// FiTv2 without stretching. Throws unless 4 divides D.
template <class T = float>
AxialRope<T> fit_rope(Index channels, Index extent, double theta = 1e4) {
  const auto f = rope_frequencies(detail::axial_channels("fit_rope", channels), theta);
  return fit_rope<T>(f, f, extent);
}

/// By how much FiTv2 stretches an axis: max(length / original, 1). `length` is the longer side of
/// the grid, or with decoupled axes that of the axis itself.
inline double fit_factor(Index length, double original) {
  require(length >= 1 && original > 0 && std::isfinite(original), "fit_factor: length is ", length,
          " and the original context ", original, "; both must be positive");
  return std::max(static_cast<double>(length) / original, 1.0);
}

/// FiTv2's factor on cosine and sine for grids larger than those of training, which goes into
/// RopeFrequencies::magnitude:
///   sqrt(ln(2 length) / ln(original)),   1 where 2 length <= original
/// over the longer side ("pro1"), or with rows * columns and original^2 over the area ("pro2").
inline double fit_magnitude(Index length, double original) {
  require(length >= 1 && original > 1 && std::isfinite(original), "fit_magnitude: length is ",
          length, " and the original context ", original, "; wanted 1 or more, and more than 1");
  const double doubled = 2 * static_cast<double>(length);
  return doubled <= original ? 1.0 : std::sqrt(std::log(doubled) / std::log(original));
}

/// Coordinates of tokens in raster order, [1, repeats rows columns] each.
struct GridPositions {
  Tensor<std::int32_t, 2> y, x;
};

/// Token t of a grid stands at y = t / columns, x = t % columns; the grid is repeated, as the
/// frames of SAM 2's memory are. Throws on sizes below 0, and 1 for the grid.
inline GridPositions grid_positions(Index rows, Index columns, Index repeats = 1) {
  require(rows >= 1 && columns >= 1 && repeats >= 0, "grid_positions: ", repeats, " grids of ",
          rows, " x ", columns);
  const Index grid = rows * columns;
  GridPositions positions{Tensor<std::int32_t, 2>({1, repeats * grid}),
                          Tensor<std::int32_t, 2>({1, repeats * grid})};
  for (Index t = 0; t < repeats * grid; ++t) {
    positions.y(0, t) = static_cast<std::int32_t>(t % grid / columns);
    positions.x(0, t) = static_cast<std::int32_t>(t % columns);
  }
  return positions;
}

/// Rotates x [B, H, N, D] into out of the same shape; token n of batch b stands at y(b, n), x(b,
/// n), positions [B or 1, N]. `out` may be `tokens` itself. Tokens without a place, such as SAM 2's
/// object pointers, are left out of the view. Throws when D is not that of the rope, shapes
/// disagree or a position is not below the extent. Time O(B H N D).
template <class A = DefaultArch, class T, ViewLike<4> X, ViewLike<4> Y>
void apply_rope2d(const AxialRope<T>& rope, const X& tokens, Y&& out, View<const std::int32_t, 2> y,
                  View<const std::int32_t, 2> x, const Context& ctx = Context{}) {
  using S = typename decltype(view_of(out))::value_type;
  const View<const S, 4> from = view_of(tokens);
  const View<S, 4> to = view_of(out);
  require(from.shape() == to.shape(), "apply_rope2d: out is ", to, ", x is ", from);
  require(from.extent(3) == rope.channels(), "apply_rope2d: x has ", from.extent(3),
          " channels, the rope turns ", rope.channels());
  const Index half = rope.channels() / 2, at_y = rope.first() == GridAxis::y ? 0 : half;
  const auto at = [&](const RopeTable<T>& table, const View<const std::int32_t, 2>& positions) {
    const auto p = positions.broadcast({from.extent(0), from.extent(2)});
    detail::check_rope_arguments<S>(table, from, to);
    detail::check_rope_positions(table, p, from);
    return p;
  };
  const auto ys = at(rope.along_y(), y), xs = at(rope.along_x(), x);
  if (from.empty()) return;
  const auto rotate = [&](Index b, Index n, const S* old, S* turned) {
    const auto turn = [&](const RopeTable<T>& table, Index position, Index channel) {
      detail::rotate_row<A>(table, position - table.first(), old + channel, turned + channel, half);
    };
    turn(rope.along_y(), ys(b, n), at_y);
    turn(rope.along_x(), xs(b, n), half - at_y);
  };
  detail::rotate_all<S>(from, to, rotate, ctx);
}

}  // namespace weft
