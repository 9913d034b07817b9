#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/tile_amx.hpp>
#include <weft/core/tile_product.hpp>

/// Products of bf16 operands with fp32 sums, on whatever the machine has for them.
///
/// Operands are pairs of bf16 that follow one another along the depth. The left one is row-major,
/// the right one a panel [depth / 2][kTileCols][2], which is one 32-bit lane per column; both are
/// padded with zeros to bf16_pairs(depth). One layout serves three units:
///
///   AMX             tiles of 16 x 16, 32 deep: 8192 multiply-adds an instruction
///   AVX-512 BF16    vdpbf16ps: two multiply-adds a lane
///   anything else   the halves of a pair are widened by shift and mask, two fused multiply-adds
namespace weft {

/// Two bf16, the first in the lower half.
struct alignas(4) Bf16Pair {
  bf16 first, second;
};

namespace detail {

/// Pairs along a depth: whole ones, or whole AMX tiles of 16 pairs.
template <class A>
constexpr Index bf16_pairs(Index depth) noexcept {
  return round_up(depth, A::tile_bf16 ? 32 : 2) / 2;
}

/// The halves of the pairs in a register, widened.
template <class A>
[[gnu::always_inline]] inline Vec<float, A> first_of_pairs(const Vec<float, A>& pairs) noexcept {
  return reinterpret<float>(reinterpret<std::uint32_t>(pairs) << 16);
}
template <class A>
[[gnu::always_inline]] inline Vec<float, A> second_of_pairs(const Vec<float, A>& pairs) noexcept {
  return reinterpret<float>(reinterpret<std::uint32_t>(pairs) & Vec<std::uint32_t, A>(0xffff0000u));
}

/// One step of a register tile over a pair.
template <class A>
struct DotPairs {
  using Left = Bf16Pair;
  using Element = Bf16Pair;
  using V = Vec<float, A>;
  static constexpr int kParts = 1;

  [[gnu::always_inline]] static V load(const Bf16Pair* b, int = 0) noexcept {
    return reinterpret<float>(weft::load<A>(words(b)));
  }
  [[gnu::always_inline]] static V broadcast(const Bf16Pair* a) noexcept {
    return reinterpret<float>(Vec<std::uint32_t, A>(std::bit_cast<std::uint32_t>(*a)));
  }
  [[gnu::always_inline]] static V apply(const V& a, const V& b, const V& acc) noexcept {
#if defined(__AVX512BF16__)
    if constexpr (A::dot_bf16)
      return _mm512_dpbf16_ps(acc, std::bit_cast<__m512bh>(a.data),
                              std::bit_cast<__m512bh>(b.data));
    else
#endif
      return mul_add(second_of_pairs<A>(a), second_of_pairs<A>(b),
                     mul_add(first_of_pairs<A>(a), first_of_pairs<A>(b), acc));
  }

 private:
  static const std::uint32_t* words(const Bf16Pair* p) noexcept {
    return reinterpret_cast<const std::uint32_t*>(p);
  }
};

/// One step of a register tile over two floats of A and a pair of B. Both halves are widened from
/// the same register, which is cheaper loaded twice than kept.
template <class A>
struct WidenPairs {
  using Left = float;
  using Element = Bf16Pair;
  using V = Vec<float, A>;
  static constexpr int kParts = 2;

  [[gnu::always_inline]] static V load(const Bf16Pair* b, int part) noexcept {
    const V pairs = DotPairs<A>::load(b);
    return part == 0 ? first_of_pairs<A>(pairs) : second_of_pairs<A>(pairs);
  }
  [[gnu::always_inline]] static V broadcast(const float* a) noexcept { return V(*a); }
  [[gnu::always_inline]] static V apply(const V& a, const V& b, const V& acc) noexcept {
    return mul_add(a, b, acc);
  }
};

/// AMX on tiles of pairs; see tile_amx.hpp.
struct PairTiles {
  using Left = Bf16Pair;
  using Element = Bf16Pair;
  using Sum = float;

  template <int I>
  static void multiply() noexcept {
#if defined(__AMX_BF16__) && defined(__AMX_TILE__)
    if constexpr (I == 0) _tile_dpbf16ps(0, 4, 6);
    if constexpr (I == 1) _tile_dpbf16ps(1, 4, 7);
    if constexpr (I == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (I == 3) _tile_dpbf16ps(3, 5, 7);
#endif
  }
};

/// Rows that bf16_product takes at once, and to which it rounds up: it reads that many rows of A
/// and writes that many of C.
template <class A>
inline constexpr Index kBf16Rows = A::tile_bf16 ? kTilePanelRows : 24;
template <class A>
constexpr Index bf16_rows_touched(Index rows) noexcept {
  return A::tile_bf16 ? round_up(rows, 16) : rows;
}

/// C[rows x kTileCols] (+)= A B with rows <= kBf16Rows. A is row-major with Ld pairs a row, `panel`
/// one panel of B, `pairs` from bf16_pairs. `tiles` says that a TileSession is open.
template <class A, Index Ld>
void bf16_product(Index rows, Index pairs, const Bf16Pair* a, const Bf16Pair* panel, float* c,
                  Index ldc, bool accumulate, [[maybe_unused]] bool tiles) noexcept {
  if constexpr (A::tile_bf16)
    if (tiles) return tile_panel_product<PairTiles>(rows, pairs, a, Ld, panel, c, ldc, accumulate);
  constexpr Index NR = kTileCols<float, A>;
  rows_product<A, kTileVectors<A>, DotPairs<A>>(rows, pairs, a, std::integral_constant<Index, Ld>{},
                                                panel, NR, c, ldc, accumulate);
}

/// to[e] = (first[e], second[e]) rounded to bf16, for n elements, a multiple of the vector.
template <class A>
void pair_rows(const float* first, const float* second, Index n, Bf16Pair* to) noexcept {
  using Codec = Bf16Codec<A>;
  auto* words = reinterpret_cast<std::uint32_t*>(to);
  for (Index e = 0; e < n; e += kWidth<float, A>)
    store<A>(words + e,
             Codec::encode(load<A>(first + e)) | (Codec::encode(load<A>(second + e)) << 16));
}

}  // namespace detail
}  // namespace weft
