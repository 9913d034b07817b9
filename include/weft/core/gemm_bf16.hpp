#pragma once

#include <weft/core/gemm_kernel.hpp>
#include <weft/core/tile_bf16.hpp>

/// The kernels of gemm_kernel.hpp whose B is packed as pairs of bf16: PairKernel on vectors and
/// TileKernel on AMX, for an A of bf16; WidenKernel for an A of floats. They share the panels, so
/// that B can be packed before it is known which runs.
///
///   panels of B   panel[k * kCols + n] = (B(2 k, n), B(2 k + 1, n))
///   rows of A     row[k] = (A(r, 2 k), A(r, 2 k + 1)), or as they are
namespace weft::detail {

/// Rows of A, padded with zeros to whole registers.
template <class A, class S>
void pack_pair_rows(const View<const S, 2>& a, Bf16Pair* rows, Index ld) noexcept {
  constexpr Index W = kWidth<float, A>;
  const Index numbers = a.extent(1), stride = a.stride(1);
  bf16 block[2 * W];
  for (Index r = 0; r < a.extent(0); ++r, rows += ld)
    for (Index k = 0; k < numbers; k += 2 * W) {
      const Index count = std::min(2 * W, numbers - k);
      const S* from = a.pointer(r, k);
      if (stride == 1 && count == 2 * W) {
        store_as<A>(block, load_as<float, A>(from));
        store_as<A>(block + W, load_as<float, A>(from + W));
      } else {
        for (Index i = 0; i < 2 * W; ++i)
          block[i] = static_cast<bf16>(i < count ? static_cast<float>(from[i * stride]) : 0.f);
      }
      std::memcpy(static_cast<void*>(rows + k / 2), block, sizeof block);
    }
}

/// All columns of B as panels of `depth` pairs, `stride` pairs apart.
template <class A, class S>
void pack_pair_panels(const View<const S, 2>& b, Index depth, Bf16Pair* panels,
                      Index stride) noexcept {
  constexpr Index NR = kTileCols<float, A>, kSteps = 32;
  alignas(64) float rows[kSteps * NR];
  for (Index n = 0; n < b.extent(1); n += NR, panels += stride)
    for (Index k = 0; k < 2 * depth; k += kSteps) {
      const Index steps = std::clamp<Index>(b.extent(0) - k, 0, kSteps);
      if (steps > 0)
        pack_panel<A>(b.pointer(k, n), b.stride(0), b.stride(1), steps,
                      std::min(NR, b.extent(1) - n), rows);
      std::fill(rows + steps * NR, rows + kSteps * NR, 0.f);
      for (Index i = 0; i < std::min(kSteps, 2 * depth - k); i += 2)
        pair_rows<A>(rows + i * NR, rows + (i + 1) * NR, NR, panels + (k + i) / 2 * NR);
    }
}

/// What the kernels on panels of pairs of bf16 share, whatever `Op_` multiplies the pairs with.
template <class A_, class Op_>
struct PairPanels {
  using Arch = A_;
  using Op = Op_;
  using Sum = float;
  using Left = typename Op::Left;
  using Element = Bf16Pair;
  struct Session {};

  static constexpr Index kRows = kTileRows;
  static constexpr Index kCols = kTileCols<float, Arch>;
  static constexpr Index kDepthBlock = 512;

  static constexpr Index kNumbers = 2;
  static constexpr Index kLefts = Op::kParts;
  static constexpr Index depth(Index k) noexcept { return bf16_pairs<Arch>(k); }
  static constexpr Index touched(Index rows) noexcept { return rows; }

  template <class S>
  static void pack_panels(const View<const S, 2>& b, Index depth, Bf16Pair* panels,
                          Index stride) noexcept {
    pack_pair_panels<Arch>(b, depth, panels, stride);
  }

  static void multiply(Index rows, Index cols, Index depth, const Left* a, Index lda,
                       const Bf16Pair* panel, float* c, Index ldc, bool accumulate,
                       PrefetchAhead prefetch) noexcept {
    panel_product<Arch, Op>(rows, cols, depth, a, lda, panel, c, ldc, accumulate, prefetch);
  }
};

/// Pairs of bf16 on vectors: vdpbf16ps where there is one, else two multiply-adds.
template <class A>
struct PairKernel : PairPanels<A, DotPairs<A>> {
  template <class S>
  static void pack_rows(const View<const S, 2>& a, Bf16Pair* rows, Index ld) noexcept {
    pack_pair_rows<A>(a, rows, ld);
  }
};

/// Pairs of bf16 on AMX, for an Arch that has it and where tiles_granted().
template <class A_>
struct TileKernel : PairKernel<A_> {
  using Arch = A_;

  struct Session {
    TileSession tiles{true};
  };

  static constexpr Index kRows = kBf16Rows<Arch>;
  static constexpr Index touched(Index rows) noexcept { return bf16_rows_touched<Arch>(rows); }

  static void multiply(Index rows, Index, Index depth, const Bf16Pair* a, Index lda,
                       const Bf16Pair* panel, float* c, Index ldc, bool accumulate,
                       PrefetchAhead prefetch) noexcept {
    tile_panel_product<PairTiles>(rows, depth, a, lda, panel, c, ldc, accumulate, prefetch);
  }
};

/// Floats by pairs of bf16, which are widened on the way to the multiply-adds: a bf16 is the upper
/// half of a float. So B costs half the bytes of floats and nothing is rounded: the sums have the
/// bits that FmaKernel gives of the same numbers.
template <class A>
struct WidenKernel : PairPanels<A, WidenPairs<A>> {
  using Base = PairPanels<A, WidenPairs<A>>;

  /// Rows are filled up with -0: times the zeros that fill up B it is the number that changes no
  /// sum, not even the sign of a zero.
  template <class S>
  static void pack_rows(const View<const S, 2>& a, float* rows, Index ld) noexcept {
    const Index numbers = a.extent(1), fill = Base::kLefts * Base::depth(numbers) - numbers;
    detail::pack_rows<A>(a.data(), a.stride(0), a.stride(1), a.extent(0), numbers, rows, ld);
    for (Index r = 0; r < a.extent(0); ++r) std::fill_n(rows + r * ld + numbers, fill, -0.f);
  }
};

/// Whether the target multiplies bf16 faster than float.
template <class A>
inline constexpr bool kBf16Unit = A::dot_bf16 || A::tile_bf16;

/// Calls f with the kernel that this machine runs bf16 products on, as a value.
template <class A, class F>
void with_bf16_kernel(const F& f) {
  if constexpr (A::tile_bf16)
    if (tiles_granted()) return f(TileKernel<A>{});
  f(PairKernel<A>{});
}

}  // namespace weft::detail
