#pragma once

#include <weft/quant/four_bit_weight.hpp>
#include <weft/quant/nibbles.hpp>

/// Panels of a FourBitWeight decoded to floats, and products with one row of x, which decode in
/// registers: what decoded_product.hpp asks of a weight.
///
/// The floor of a single row is the bytes of the weight over the bandwidth. Decoding 16 weights (8
/// bytes) takes a shift, a lookup and a multiply-add with AVX-512: 1.5 cycles.
namespace weft::quant::detail {

using weft::detail::reinterpret;

/// Scale and offset of the outputs of a panel for one group.
template <class A>
struct PanelGrid {
  using V = Vec<float, A>;
  static constexpr Index W = kWidth<float, A>;
  static constexpr int NV = weft::detail::kTileVectors<A>;
  V scale[NV], offset[NV];

  PanelGrid(const FourBitWeight<A>& w, Index panel, Index g) noexcept {
    for (int v = 0; v < NV; ++v) {
      scale[v] = load_as<float, A>(w.scale(panel, g) + v * W);
      offset[v] = w.has_offset() ? load_as<float, A>(w.offset(panel, g) + v * W) : V(0.f);
    }
  }
};

/// Calls use(k, v, values) for the inputs k = 0, ..., 4 `quads` - 1 and the vectors v of outputs of
/// a panel, with the table's values of their codes.
template <class A, class Use>
[[gnu::always_inline]] inline void lookup_quads(const std::uint32_t* words, Index quads,
                                                const Table16<A>& table, Use use) noexcept {
  constexpr Index W = kWidth<float, A>, kHalf = FourBitWeight<A>::kHalf;
  constexpr int kWords = static_cast<int>(kHalf / W);
  for (Index q = 0; q < quads; ++q, words += kHalf)
#pragma GCC unroll 2
    for (int v = 0; v < kWords; ++v) {
      const auto word = load<A>(words + v * W);
      const auto value = [&](int shift) { return table(reinterpret<std::int32_t>(word >> shift)); };
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        use(4 * q + i, v, value(8 * i));
        use(4 * q + i, v + kWords, value(8 * i + 4));
      }
    }
}

}  // namespace weft::quant::detail

namespace weft::quant {

/// Decoded inputs [k, k + steps) of a panel as rows of kCols floats; k is a multiple of 4, and
/// steps is rounded up to one.
template <class A>
void decode_panel(const FourBitWeight<A>& w, Index panel, Index k, Index steps,
                  float* to) noexcept {
  constexpr Index W = kWidth<float, A>, NR = FourBitWeight<A>::kCols;
  const Table16<A> table(w.table());
  for (const Index end = k + steps; k < end;) {
    const Index g = k / w.group(), stop = std::min((g + 1) * w.group(), end);
    const detail::PanelGrid<A> grid(w, panel, g);
    const Index quads = ceil_div(stop - k, 4);
    detail::lookup_quads<A>(w.words(panel) + k / 4 * FourBitWeight<A>::kHalf, quads, table,
                            [&](Index i, int v, const Vec<float, A>& value) {
                              store<A>(to + i * NR + v * W,
                                       mul_add(grid.scale[v], value, grid.offset[v]));
                            });
    to += 4 * quads * NR;
    k += 4 * quads;
  }
}

/// Sums over the inputs of one panel for one row x, padded with zeros to whole quads:
///   sums[c] = sum_g scale[c, g] (sum_k x[k] table[code[c, k]]) + offset[c, g] (sum_k x[k])
template <class A>
void panel_gemv(const FourBitWeight<A>& w, Index panel, const float* x, float* sums) noexcept {
  using V = Vec<float, A>;
  constexpr Index W = kWidth<float, A>;
  constexpr int NV = weft::detail::kTileVectors<A>;
  const Table16<A> table(w.table());
  V total[NV];
  for (V& t : total) t = V(0.f);
  const Index quads_of_group = w.group() / 4;
  for (Index g = 0, q = 0; q < w.quads(); ++g, q += quads_of_group) {
    const Index quads = std::min(quads_of_group, w.quads() - q);
    V part[2][NV];
    for (auto& half : part)
      for (V& p : half) p = V(0.f);
    detail::lookup_quads<A>(
        w.words(panel) + q * FourBitWeight<A>::kHalf, quads,
        table, [&](Index k, int v, const V& value) __attribute__((always_inline)) {
          V& p = part[k % 2][v];
          p = mul_add(V(x[4 * q + k]), value, p);
        });
    const detail::PanelGrid<A> grid(w, panel, g);
    float of_x = 0;
    if (w.has_offset())
      for (Index k = 4 * q; k < 4 * (q + quads); ++k) of_x += x[k];
    for (int v = 0; v < NV; ++v)
      total[v] = mul_add(grid.scale[v], part[0][v] + part[1][v],
                         mul_add(grid.offset[v], V(of_x), total[v]));
  }
  for (int v = 0; v < NV; ++v) store<A>(sums + v * W, total[v]);
}

}  // namespace weft::quant
