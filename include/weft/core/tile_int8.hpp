#pragma once

#include <weft/core/lanes.hpp>
#include <weft/core/tile_amx.hpp>
#include <weft/core/tile_product.hpp>

/// Products of 8-bit integers with int32 sums, exact on every machine.
///
/// Operands are quads of bytes that follow one another along the depth: the left one row-major, the
/// right one a panel [depth / 4][kTileCols][4], which is one 32-bit lane per column, both padded to
/// byte_quads(depth). One operand is unsigned and the other signed, as the hardware has it; which
/// is which is a matter of the caller. One layout serves three units:
///
///   AMX             tiles of 16 x 16, 64 deep: 16384 multiply-adds an instruction
///   AVX-512 VNNI    vpdpbusd: four multiply-adds a lane, no saturation
///   anything else   bytes are widened to 16 bits, pairs multiplied and added (pmaddwd): at most
///                   2 * 255 * 128, so nothing saturates; the instruction for bytes (pmaddubsw)
///                   would, above 2 * 127 * 127
///
/// An int32 holds 65793 products of 255 * 128.
namespace weft::detail {

/// Four bytes along the depth, of either sign. No alignment, so that rows of bytes are read in
/// place.
struct ByteQuad {
  std::uint8_t bytes[4];
};

/// Quads along a depth: whole ones, or whole AMX tiles of 16 quads.
template <class A>
constexpr Index byte_quads(Index depth) noexcept {
  return round_up(depth, A::tile_int8 ? 64 : 4) / 4;
}

/// Lanes of pairs of 16 bits: a0 b0 + a1 b1.
template <class A>
[[gnu::always_inline]] inline Vec<std::int32_t, A> dot_int16(
    const Vec<std::int32_t, A>& a, const Vec<std::int32_t, A>& b) noexcept {
#if defined(__AVX512BW__)
  if constexpr (sizeof(a) == 64) return _mm512_madd_epi16(a, b);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(a) == 32) return _mm256_madd_epi16(a, b);
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(a) == 16) return _mm_madd_epi16(a, b);
#endif
  return (a >> 16) * (b >> 16) + ((a << 16) >> 16) * ((b << 16) >> 16);
}

/// The even and the odd bytes of every lane as pairs of 16 bits, of U = std::uint16_t with zeros
/// above them, of std::int16_t with copies of their sign.
template <class U, class A>
[[gnu::always_inline]] inline Vec<std::int32_t, A> even_bytes(
    const Vec<std::int32_t, A>& v) noexcept {
  return reinterpret<std::int32_t>((reinterpret<U>(v) << 8) >> 8);
}
template <class U, class A>
[[gnu::always_inline]] inline Vec<std::int32_t, A> odd_bytes(
    const Vec<std::int32_t, A>& v) noexcept {
  return reinterpret<std::int32_t>(reinterpret<U>(v) >> 8);
}

/// sums + the dot products of u8 and s8 in each lane.
template <class A>
[[gnu::always_inline]] inline Vec<std::int32_t, A> dot_bytes(
    const Vec<std::int32_t, A>& u, const Vec<std::int32_t, A>& s,
    const Vec<std::int32_t, A>& sums) noexcept {
#if defined(__AVX512VNNI__)
  if constexpr (A::dot_int8 && sizeof(u) == 64) return _mm512_dpbusd_epi32(sums, u, s);
#endif
  using Unsigned = std::uint16_t;
  using Signed = std::int16_t;
  return sums + dot_int16<A>(even_bytes<Unsigned, A>(u), even_bytes<Signed, A>(s)) +
         dot_int16<A>(odd_bytes<Unsigned, A>(u), odd_bytes<Signed, A>(s));
}

/// Which operand of a product of bytes is the signed one.
enum class SignedSide { left, right };

/// One step of a register tile over a quad.
template <class A, SignedSide Signed>
struct DotQuads {
  using Left = ByteQuad;
  using Element = ByteQuad;
  using V = Vec<std::int32_t, A>;
  static constexpr int kParts = 1;

  [[gnu::always_inline]] static V load(const ByteQuad* b, int) noexcept {
    return weft::load<A>(reinterpret_cast<const std::int32_t*>(b));
  }
  [[gnu::always_inline]] static V broadcast(const ByteQuad* a) noexcept {
    return V(std::bit_cast<std::int32_t>(*a));
  }
  [[gnu::always_inline]] static V apply(const V& a, const V& b, const V& acc) noexcept {
    if constexpr (Signed == SignedSide::left)
      return dot_bytes<A>(b, a, acc);
    else
      return dot_bytes<A>(a, b, acc);
  }
};

/// AMX on tiles of quads; see tile_amx.hpp.
template <SignedSide Signed>
struct QuadTiles {
  using Left = ByteQuad;
  using Element = ByteQuad;
  using Sum = std::int32_t;

  template <int I>
  static void multiply() noexcept {
#if defined(__AMX_INT8__) && defined(__AMX_TILE__)
    if constexpr (Signed == SignedSide::left) {
      if constexpr (I == 0) _tile_dpbsud(0, 4, 6);
      if constexpr (I == 1) _tile_dpbsud(1, 4, 7);
      if constexpr (I == 2) _tile_dpbsud(2, 5, 6);
      if constexpr (I == 3) _tile_dpbsud(3, 5, 7);
    } else {
      if constexpr (I == 0) _tile_dpbusd(0, 4, 6);
      if constexpr (I == 1) _tile_dpbusd(1, 4, 7);
      if constexpr (I == 2) _tile_dpbusd(2, 5, 6);
      if constexpr (I == 3) _tile_dpbusd(3, 5, 7);
    }
#endif
  }
};

}  // namespace weft::detail
