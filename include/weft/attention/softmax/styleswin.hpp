#pragma once

#include <weft/attention/softmax/grid_score.hpp>
#include <weft/attention/softmax/mixer.hpp>

namespace weft {

/// Double attention of StyleSwin (StyleSwin: Transformer-based GAN for High-resolution Image
/// Generation, arXiv:2112.10762). The heads come in two halves:
///   first half    softmax(scale q k^T + B1) v in windows of w x w tokens
///   second half   the same with B2 in windows of the map rolled by (-s, -s), s = w / 2, and back
/// where a bias holds, for head h and the offset (dy, dx) of the query from the key,
///   B[h] = table[(dy + w - 1)(2 w - 1) + dx + w - 1, h]                 table [(2 w - 1)^2, H / 2]
/// In the rolled map 100 is taken off the logits of two tokens from different regions: rows
/// [0, R - w), [R - w, R - s), [R - s, R), and columns likewise. It is a large number and no mask,
/// as in the published code. On a map with a side of w or less, w is that side and s = 0.
///
/// q, k, v, out are maps [B, R, columns, C], head h being the channels h C / H .. (h + 1) C / H,
/// after the projection and before the next. Sides must be multiples of w, H even. Elements fp32 or
/// fp64, one type for all. Throws where shapes disagree. Time O(B R columns w^2 C), scratch memory
/// of a worker four windows.
template <class T = float>
struct StyleSwin {
  Index window;                  ///< w >= 1
  Index heads;                   ///< H
  View<const T, 2> plain_bias;   ///< B1, [(2 w - 1)^2, H / 2]
  View<const T, 2> rolled_bias;  ///< B2
};

namespace detail {

/// Windows of w x w tokens of a map rolled by (-s, -s).
struct MapWindows {
  Index rows, columns, w, s;

  Index count() const noexcept { return rows / w * (columns / w); }
  Index tokens() const noexcept { return w * w; }
  Index top(Index window) const noexcept { return window / (columns / w) * w; }
  Index left(Index window) const noexcept { return window % (columns / w) * w; }

  /// Whether a window of the rolled map has tokens from several regions.
  bool is_mixed(Index window) const noexcept {
    return s > 0 && (top(window) == rows - w || left(window) == columns - w);
  }

  /// Token t of a window.
  template <class M>
  M* token_at(Index window, Index t, const View<M, 3>& map) const noexcept {
    return map.pointer((top(window) + t / w + s) % rows, (left(window) + t % w + s) % columns);
  }

  /// Copies channels of a window of a map [rows, columns, H D] to [1, H, w w, D], or back. The
  /// hardware sees no pattern in the pieces of memory that a token is, so they are asked for ahead.
  template <bool Back, class A, class M, class T>
  void copy(Index window, const View<M, 3>& map, const View<T, 4>& parts) const noexcept {
    constexpr Index ahead = 4, line = 64 / Index{sizeof(T)};
    const Index D = parts.extent(3), channels = D * parts.extent(1);
    for (Index t = 0; t < tokens(); ++t) {
      M* next = token_at(window, std::min(t + ahead, tokens() - 1), map);
      for (Index d = 0; d < channels; d += line) __builtin_prefetch(next + d, Back ? 1 : 0, 2);
      M* at = token_at(window, t, map);
      for (Index h = 0; h < parts.extent(1); ++h)
        if constexpr (Back)
          convert_row<T, A>(parts.pointer(0, h, t), at + h * D, D, D);
        else
          convert_row<T, A>(at + h * D, parts.pointer(0, h, t), D, D);
    }
  }

  /// Which of the 9 regions the tokens of a window come from.
  template <class T>
  void number_regions(Index window, T* regions) const noexcept {
    const auto band = [&](Index i, Index side) { return (i >= side - w) + (i >= side - s); };
    for (Index dy = 0, t = 0; dy < w; ++dy)
      for (Index dx = 0; dx < w; ++dx, ++t)
        regions[t] =
            static_cast<T>(3 * band(top(window) + dy, rows) + band(left(window) + dx, columns));
  }
};

/// s <- s - 100 where the regions of query and key differ.
template <class T>
struct RegionPenalty {
  const T* regions;  ///< of the tokens of the window

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    using Lane = typename V::value_type;
    const V own(static_cast<Lane>(regions[r.query]));
    return xsimd::select(load_keys<V>(regions, 1, r, j0) == own, s, s - V(Lane(100)));
  }
};
static_assert(Score<RegionPenalty<float>>);

/// The published table of head h as a table of offsets of the key from the query.
template <class T>
Tensor<T, 3> window_bias(View<const T, 2> table, Index w) {
  return grid_table<T>(table.extent(1), w, w, [&](Index h, Index dy, Index dx) {
    return table((w - 1 - dy) * (2 * w - 1) + w - 1 - dx, h);
  });
}

/// One window of half of the heads: x[0], x[1], x[2] are their channels of q, k, v. It is attended
/// to in the cache, between being copied from the map and back.
template <class A, class T>
void attend_window(const MapWindows& windows, Index window, Index heads, const GridBias<T>& bias,
                   const View<const T, 3> (&x)[3], const View<T, 3>& out, Arena& arena) {
  const std::array<Index, 4> shape{1, heads, windows.tokens(), out.extent(2) / heads};
  View<T, 4> parts[4];
  for (View<T, 4>& part : parts) part = {arena.take<T>(shape[1] * shape[2] * shape[3]), shape};
  for (int i = 0; i < 3; ++i) windows.template copy<false, A>(window, x[i], parts[i]);
  const auto attend = [&](const auto& score) {
    attend_within_task<A>(Softmax{NoMask{}, score}, View<const T, 4>(parts[0]),
                          View<const T, 4>(parts[1]), View<const T, 4>(parts[2]), parts[3], arena);
  };
  if (windows.is_mixed(window)) {
    T* regions = arena.take<T>(windows.tokens());
    windows.number_regions(window, regions);
    attend(Chain{bias, RegionPenalty<T>{regions}});
  } else {
    attend(bias);
  }
  windows.template copy<true, A>(window, out, parts[3]);
}

}  // namespace detail

template <class A = DefaultArch, class T, ViewLike<4> Q, ViewLike<4> K, ViewLike<4> V,
          ViewLike<4> O>
void forward(const StyleSwin<T>& mixer, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  const View<const T, 4> x[3] = {view_of(q), view_of(k), view_of(v)};
  const View<T, 4> to = view_of(out);
  for (const auto& part : x) {
    require(part.shape() == to.shape(), "StyleSwin: an input is ", part, ", out is ", to);
    detail::require_channels(part, "StyleSwin: an input");
  }
  detail::require_channels(to, "StyleSwin: out");
  require(mixer.window >= 1, "StyleSwin: window is ", mixer.window);
  require(mixer.heads >= 2 && mixer.heads % 2 == 0 && to.extent(3) % mixer.heads == 0,
          "StyleSwin: ", mixer.heads, " heads share ", to.extent(3),
          " channels; an even number of heads must divide them");
  if (to.empty()) return;
  const Index side = std::min(to.extent(1), to.extent(2)), w = std::min(mixer.window, side);
  require(to.extent(1) % w == 0 && to.extent(2) % w == 0, "StyleSwin: windows of ", w, " on a map ",
          to, "; both sides must be multiples of them");
  const Index heads = mixer.heads / 2, half = to.extent(3) / 2, sizes = (2 * w - 1) * (2 * w - 1);
  for (const auto& bias : {mixer.plain_bias, mixer.rolled_bias})
    require(bias.extent(0) == sizes && bias.extent(1) == heads, "StyleSwin: a bias is ", bias,
            ", wanted [", sizes, ", ", heads, "]");
  const Index roll = side <= mixer.window ? 0 : w / 2;
  const auto run = [&](Index channel, Index s, View<const T, 2> table) {
    const detail::MapWindows windows{to.extent(1), to.extent(2), w, s};
    const Tensor<T, 3> offsets = detail::window_bias(table, w);
    const GridBias<T> bias(offsets.view());
    ctx.parallel(to.extent(0) * windows.count(), [&](Index task, Arena& arena) {
      const auto part = [&](const auto& map) {
        return map.slice(3, channel, half).select(0, task / windows.count());
      };
      detail::attend_window<A>(windows, task % windows.count(), heads, bias,
                               {part(x[0]), part(x[1]), part(x[2])}, part(to), arena);
    });
  };
  run(0, 0, mixer.plain_bias);
  run(half, roll, mixer.rolled_bias);
}

}  // namespace weft
