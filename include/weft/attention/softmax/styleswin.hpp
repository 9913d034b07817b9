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
/// two maps.
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
  Index y(Index window, Index token) const noexcept {
    return window / (columns / w) * w + token / w;
  }
  Index x(Index window, Index token) const noexcept {
    return window % (columns / w) * w + token % w;
  }

  /// Copies channels of a map [B, rows, columns, H D] to windows [B count, H, w w, D], or back.
  template <bool Back, class M, class T>
  void copy(const View<M, 4>& map, const View<T, 4>& windows, const Context& ctx) const {
    const Index D = windows.extent(3);
    ctx.parallel(windows.extent(0), [&](Index task, Arena&) {
      const Index b = task / count(), window = task % count();
      for (Index t = 0; t < w * w; ++t) {
        auto* token = map.pointer(b, (y(window, t) + s) % rows, (x(window, t) + s) % columns);
        for (Index h = 0; h < windows.extent(1); ++h) {
          if constexpr (Back)
            std::copy_n(windows.pointer(task, h, t), D, token + h * D);
          else
            std::copy_n(token + h * D, D, windows.pointer(task, h, t));
        }
      }
    });
  }

  /// Which of the 9 regions a token of the rolled map comes from.
  Index region(Index window, Index token) const noexcept {
    const auto band = [&](Index i, Index side) { return (i >= side - w) + (i >= side - s); };
    return 3 * band(y(window, token), rows) + band(x(window, token), columns);
  }
};

/// s <- s - 100 where the regions of query and key differ: regions [windows, tokens], batch element
/// b being window b % windows.
template <class T>
struct RegionPenalty {
  View<const T, 2> regions;

  template <class V>
  V operator()(V s, const Row& r, Index j0) const noexcept {
    using Lane = typename V::value_type;
    const T* row = regions.pointer(r.batch % regions.extent(0));
    const V own(static_cast<Lane>(row[r.query]));
    return xsimd::select(load_keys<V>(row, 1, r, j0) == own, s, s - V(Lane(100)));
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

/// One half of the heads: x[0], x[1], x[2] are its channels of q, k, v.
template <class A, class T, class X>
void attend_windows(const MapWindows& windows, Index heads, View<const T, 2> bias,
                    const View<X, 4> (&x)[3], const View<T, 4>& out, const Context& ctx) {
  const Index w = windows.w, D = out.extent(3) / heads;
  const Arena::Frame frame(ctx.arena());
  const std::array<Index, 4> shape{out.extent(0) * windows.count(), heads, w * w, D};
  View<T, 4> parts[4];
  for (View<T, 4>& part : parts) part = {ctx.arena().template take<T>(out.size()), shape};
  for (int i = 0; i < 3; ++i) windows.template copy<false>(x[i], parts[i], ctx);
  const View<T, 2> regions(ctx.arena().template take<T>(windows.count() * w * w),
                           {windows.count(), w * w});
  for (Index n = 0; n < windows.count(); ++n)
    for (Index t = 0; t < w * w; ++t) regions(n, t) = static_cast<T>(windows.region(n, t));
  const Tensor<T, 3> table = window_bias(bias, w);
  const GridBias<T> near(table.view());
  if (windows.s == 0)
    forward<A>(Softmax{NoMask{}, near}, parts[0], parts[1], parts[2], parts[3], ctx);
  else
    forward<A>(Softmax{NoMask{}, Chain{near, RegionPenalty<T>{regions}}}, parts[0], parts[1],
               parts[2], parts[3], ctx);
  windows.template copy<true>(out, parts[3], ctx);
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
  const Index heads = mixer.heads / 2, half = to.extent(3) / 2, offsets = (2 * w - 1) * (2 * w - 1);
  for (const auto& bias : {mixer.plain_bias, mixer.rolled_bias})
    require(bias.extent(0) == offsets && bias.extent(1) == heads, "StyleSwin: a bias is ", bias,
            ", wanted [", offsets, ", ", heads, "]");
  const Index roll = side <= mixer.window ? 0 : w / 2;
  const auto run = [&](Index channel, Index s, View<const T, 2> bias) {
    const auto part = [&](const auto& map) { return map.slice(3, channel, half); };
    detail::attend_windows<A>(detail::MapWindows{to.extent(1), to.extent(2), w, s}, heads, bias,
                              {part(x[0]), part(x[1]), part(x[2])}, part(to), ctx);
  };
  run(0, 0, mixer.plain_bias);
  run(half, roll, mixer.rolled_bias);
}

}  // namespace weft
