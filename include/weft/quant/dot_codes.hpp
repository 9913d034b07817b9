#pragma once

#include <weft/core/tile_int8.hpp>

#include <cstdint>

/// Products of signed bytes and codes of 2, 4 or 8 bits that are packed into words: exact in int32
/// on every instruction set, see core/tile_int8.hpp.
namespace weft::quant::detail {

using weft::detail::reinterpret;

/// One step of a register tile over a word of codes and the quadruples of signed bytes that they
/// are multiplied with: one for codes of 8 bits, two for 4, four for 2.
template <class A, int Bits>
struct DotCodes {
  using Left = weft::detail::ByteQuad;
  using Element = std::uint32_t;
  using V = Vec<std::int32_t, A>;
  static constexpr int kParts = 8 / Bits;

  [[gnu::always_inline]] static V load(const std::uint32_t* b, int part) noexcept {
    const auto words = weft::load<A>(b);
    if constexpr (Bits == 8) return reinterpret<std::int32_t>(words);
    constexpr std::uint32_t mask = 0x01010101u * ((1u << Bits) - 1u);
    return reinterpret<std::int32_t>((words >> (Bits * part)) & Vec<std::uint32_t, A>(mask));
  }
  [[gnu::always_inline]] static V broadcast(const Left* a) noexcept {
    return V(std::bit_cast<std::int32_t>(*a));
  }
  [[gnu::always_inline]] static V apply(const V& a, const V& b, const V& acc) noexcept {
    return weft::detail::dot_bytes<A>(b, a, acc);
  }
};

}  // namespace weft::quant::detail
