#pragma once

#include <weft/core/gemm_blocked.hpp>
#include <weft/core/gemv.hpp>
#include <weft/core/tile_int8.hpp>

/// The kernels of gemm_kernel.hpp for bytes: u8 rows of A by s8 panels of B, int32 sums.
///
///   panels of B   panel[k * kCols + n] = (B(4 k, n), ..., B(4 k + 3, n))
///   rows of A     as they are, where their length and stride are whole elements, else copied
namespace weft::detail {

/// Columns of B as panels of `depth` quads, `stride` quads apart; zeros beyond its edges.
template <class A, class S>
void pack_quad_panels(const View<const S, 2>& b, Index depth, ByteQuad* panels,
                      Index stride) noexcept {
  static_assert(sizeof(S) == 1);
  constexpr Index NR = kTileCols<std::int32_t, A>;
  for (Index n0 = 0; n0 < b.extent(1); n0 += NR, panels += stride) {
    std::fill_n(panels, depth * NR, ByteQuad{});
    const Index cols = std::min(NR, b.extent(1) - n0);
    for (Index n = 0; n < cols; ++n)
      for (Index k = 0; k < b.extent(0); ++k)
        panels[k / 4 * NR + n].bytes[k % 4] = static_cast<std::uint8_t>(b(k, n0 + n));
  }
}

/// Bytes on vectors.
template <class A_>
struct QuadKernel {
  using Arch = A_;
  using Op = DotQuads<Arch, SignedSide::right>;
  using Sum = std::int32_t;
  using Left = ByteQuad;
  using Element = ByteQuad;
  struct Session {};

  static constexpr Index kRows = kTileRows;
  static constexpr Index kCols = kTileCols<Sum, Arch>;
  static constexpr Index kDepthBlock = 512;

  static constexpr Index kNumbers = 4;
  static constexpr Index kLefts = 1;
  static constexpr Index depth(Index k) noexcept { return byte_quads<Arch>(k); }
  static constexpr Index touched(Index rows) noexcept { return rows; }

  /// Whether rows of bytes are rows of whole quads.
  static bool in_place(const View<const std::uint8_t, 2>& a) noexcept {
    return a.stride(1) == 1 && a.stride(0) % 4 == 0 && 4 * depth(a.extent(1)) == a.extent(1);
  }

  static void pack_rows(const View<const std::uint8_t, 2>& a, ByteQuad* rows, Index ld) noexcept {
    for (Index r = 0; r < a.extent(0); ++r, rows += ld) {
      std::uint8_t* to = rows->bytes;
      for (Index k = 0; k < a.extent(1); ++k) to[k] = a(r, k);
      std::fill(to + a.extent(1), to + 4 * depth(a.extent(1)), std::uint8_t{0});
    }
  }
  template <class S>
  static void pack_panels(const View<const S, 2>& b, Index depth, ByteQuad* panels,
                          Index stride) noexcept {
    pack_quad_panels<Arch>(b, depth, panels, stride);
  }

  static void multiply(Index rows, Index cols, Index depth, const ByteQuad* a, Index lda,
                       const ByteQuad* panel, Sum* c, Index ldc, bool accumulate,
                       PrefetchAhead prefetch) noexcept {
    panel_product<Arch, Op>(rows, cols, depth, a, lda, panel, c, ldc, accumulate, prefetch);
  }
};

/// Bytes on AMX, for an Arch that has it and where tiles_granted().
template <class A_>
struct QuadTileKernel : QuadKernel<A_> {
  struct Session {
    TileSession tiles{true};
  };

  static constexpr Index kRows = kTilePanelRows;
  static constexpr Index touched(Index rows) noexcept { return round_up(rows, 16); }
  /// Tiles read whole rows of them; what is there in place may end earlier.
  static bool in_place(const View<const std::uint8_t, 2>& a) noexcept {
    return a.extent(0) % 16 == 0 && QuadKernel<A_>::in_place(a);
  }

  static void multiply(Index rows, Index, Index depth, const ByteQuad* a, Index lda,
                       const ByteQuad* panel, std::int32_t* c, Index ldc, bool accumulate,
                       PrefetchAhead prefetch) noexcept {
    tile_panel_product<QuadTiles<SignedSide::right>>(rows, depth, a, lda, panel, c, ldc, accumulate,
                                                     prefetch);
  }
};

/// Calls f with the kernel that this machine multiplies bytes with, as a value.
template <class A, class F>
void with_int8_kernel(const F& f) {
  if constexpr (A::tile_int8)
    if (tiles_granted()) return f(QuadTileKernel<A>{});
  f(QuadKernel<A>{});
}

}  // namespace weft::detail
