#pragma once

#include <weft/core/gemm_bf16.hpp>
#include <weft/core/gemm_int8.hpp>
#include <weft/quant/four_bit_weight.hpp>

/// What the panels of a FourBitWeight become on their way to a product: rows of floats, pairs of
/// bf16, or quads of bytes; and products with one row of x, which decode in registers.
///
/// The floor of a single row is the bytes of the weight over the bandwidth. Decoding 16 weights (8
/// bytes) takes a shift, a lookup and a multiply-add with AVX-512: 1.5 cycles.
namespace weft::quant::detail {

using weft::detail::bf16_pairs;
using weft::detail::reinterpret;

/// The table of 16 floats in registers, indexed by the lowest 4 bits of a lane.
template <class A>
class TableLookup {
 public:
  using V = Vec<float, A>;
  using Words = Vec<std::uint32_t, A>;

  explicit TableLookup(const FourBitTable& table) noexcept {
    for (std::size_t i = 0; i < kParts; ++i)
      parts_[i] = load<A>(table.data() + i * static_cast<std::size_t>(kWidth<float, A>));
  }

  [[gnu::always_inline]] V operator()(const Words& index) const noexcept {
#if defined(__AVX512F__)
    if constexpr (kWidth<float, A> == 16) return _mm512_permutexvar_ps(index, parts_[0]);
#endif
#if defined(__AVX2__)
    if constexpr (kWidth<float, A> == 8 && weft::detail::kAvx2<typename A::simd>) {
      const __m256 low = _mm256_permutevar8x32_ps(parts_[0], index);
      const __m256 high = _mm256_permutevar8x32_ps(parts_[1], index);
      return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
    }
#endif
    alignas(64) float table[16];
    alignas(64) std::uint32_t lanes[kWidth<float, A>];
    alignas(64) float out[kWidth<float, A>];
    for (std::size_t i = 0; i < kParts; ++i)
      parts_[i].store_aligned(table + i * static_cast<std::size_t>(kWidth<float, A>));
    index.store_aligned(lanes);
    for (Index i = 0; i < kWidth<float, A>; ++i) out[i] = table[lanes[i] & 15u];
    return V::load_aligned(out);
  }

 private:
  static constexpr std::size_t kParts = 16 / static_cast<std::size_t>(kWidth<float, A>);
  V parts_[kParts];
};

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
                                                const TableLookup<A>& table, Use use) noexcept {
  constexpr Index W = kWidth<float, A>, kHalf = FourBitWeight<A>::kHalf;
  constexpr int kWords = static_cast<int>(kHalf / W);
  for (Index q = 0; q < quads; ++q, words += kHalf)
#pragma GCC unroll 2
    for (int v = 0; v < kWords; ++v) {
      const auto word = load<A>(words + v * W);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        use(4 * q + i, v, table(word >> (8 * i)));
        use(4 * q + i, v + kWords, table(word >> (8 * i + 4)));
      }
    }
}

/// Decoded inputs [k, k + steps) of a panel as rows of kCols floats; k is a multiple of 4, and
/// steps is rounded up to one.
template <class A>
void decode_panel(const FourBitWeight<A>& w, Index panel, Index k, Index steps,
                  float* to) noexcept {
  constexpr Index W = kWidth<float, A>, NR = FourBitWeight<A>::kCols;
  const TableLookup<A> table(w.table());
  for (const Index end = k + steps; k < end;) {
    const Index g = k / w.group(), stop = std::min((g + 1) * w.group(), end);
    const PanelGrid<A> grid(w, panel, g);
    const Index quads = ceil_div(stop - k, 4);
    lookup_quads<A>(w.words(panel) + k / 4 * FourBitWeight<A>::kHalf, quads, table,
                    [&](Index i, int v, const Vec<float, A>& value) {
                      store<A>(to + i * NR + v * W, mul_add(grid.scale[v], value, grid.offset[v]));
                    });
    to += 4 * quads * NR;
    k += 4 * quads;
  }
}

/// B of the loop nest of gemm_blocked.hpp, decoded when a task is about to use it.
template <class K>
struct DecodedPanels {
  using A = typename K::Arch;
  using Element = typename K::Element;
  static constexpr bool kMayCutRows = false;  // every piece would decode the same block
  static constexpr Index kFetched = 0;        // decoding has brought it to L2

  const FourBitWeight<A>& weight;

  Index pass() const noexcept { return K::kDepthBlock; }

  weft::detail::PackedPanels<K> block(Index panel0, Index panels, Index k, Index steps,
                                      Arena& arena) const {
    const Index rows = round_up(steps * K::kNumbers, 4), stride = rows / K::kNumbers * K::kCols;
    auto* to = arena.take<Element>(panels * stride);
    for (Index j = 0; j < panels; ++j)
      decode(panel0 + j, k * K::kNumbers, rows, to + j * stride, arena);
    return {to, stride};
  }

  const Element* fetched(Index, Index) const noexcept { return nullptr; }

 private:
  void decode(Index panel, Index k, Index rows, float* to, Arena&) const {
    decode_panel(weight, panel, k, std::min(rows, 4 * weight.quads() - k), to);
  }

  /// Pairs of bf16, zeros up to whole tiles of pairs.
  void decode(Index panel, Index k, Index rows, Bf16Pair* to, Arena& arena) const {
    constexpr Index kAtOnce = 32;
    Arena::Frame frame(arena);
    float* values = arena.take<float>(kAtOnce * K::kCols);
    const Index end = std::min(k + rows, 4 * weight.quads());
    for (Index i = 0; i < rows; i += kAtOnce) {
      const Index steps = std::clamp<Index>(end - k - i, 0, kAtOnce);
      decode_panel(weight, panel, k + i, steps, values);
      std::fill(values + steps * K::kCols, values + kAtOnce * K::kCols, 0.f);
      for (Index r = 0; r < std::min(kAtOnce, rows - i); r += 2)
        weft::detail::pair_rows<A>(values + r * K::kCols, values + (r + 1) * K::kCols, K::kCols,
                                   to + (i + r) / 2 * K::kCols);
    }
  }
};

/// Sums over the inputs of one panel for one row x, padded with zeros to whole quads:
///   sums[c] = sum_g scale[c, g] (sum_k x[k] table[code[c, k]]) + offset[c, g] (sum_k x[k])
template <class A>
void panel_gemv(const FourBitWeight<A>& w, Index panel, const float* x, float* sums) noexcept {
  using V = Vec<float, A>;
  constexpr Index W = kWidth<float, A>;
  constexpr int NV = weft::detail::kTileVectors<A>;
  const TableLookup<A> table(w.table());
  V total[NV];
  for (V& t : total) t = V(0.f);
  const Index quads_of_group = w.group() / 4;
  for (Index g = 0, q = 0; q < w.quads(); ++g, q += quads_of_group) {
    const Index quads = std::min(quads_of_group, w.quads() - q);
    V part[2][NV];
    for (auto& half : part)
      for (V& p : half) p = V(0.f);
    lookup_quads<A>(
        w.words(panel) + q * FourBitWeight<A>::kHalf, quads,
        table, [&](Index k, int v, const V& value) __attribute__((always_inline)) {
          V& p = part[k % 2][v];
          p = mul_add(V(x[4 * q + k]), value, p);
        });
    const PanelGrid<A> grid(w, panel, g);
    float of_x = 0;
    if (w.has_offset())
      for (Index k = 4 * q; k < 4 * (q + quads); ++k) of_x += x[k];
    for (int v = 0; v < NV; ++v)
      total[v] = mul_add(grid.scale[v], part[0][v] + part[1][v],
                         mul_add(grid.offset[v], V(of_x), total[v]));
  }
  for (int v = 0; v < NV; ++v) store<A>(sums + v * W, total[v]);
}

}  // namespace weft::quant::detail
