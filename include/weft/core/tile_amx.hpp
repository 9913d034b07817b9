#pragma once

#include <weft/core/tile_product.hpp>

#include <cstdint>

#if (defined(__AMX_BF16__) || defined(__AMX_INT8__)) && defined(__AMX_TILE__) && defined(__linux__)
#define WEFT_HAS_TILES 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/// AMX: products of tiles of 16 x 16 elements of 32 bits, each of which holds two bf16 or four
/// bytes that follow one another along the depth. The left operand is row-major, the right one a
/// panel [depth][64] of such elements, the depth a multiple of 16.
///
/// A `Unit` names the types, Left, Element and Sum, and has the instruction: multiply<I>() adds the
/// product of tile 4 + I / 2 and tile 6 + I % 2 to tile I.
namespace weft::detail {

/// Rows that tile_panel_product takes at once.
inline constexpr Index kTilePanelRows = 32;

#if defined(WEFT_HAS_TILES)
#undef WEFT_HAS_TILES

/// Asks the kernel for tile registers, for this process; cheap once granted.
inline bool tiles_granted() noexcept {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, request, tile_data) == 0;
}

/// Tile registers of the running thread, configured as 16 rows of 64 bytes while this lives.
class TileSession {
 public:
  explicit TileSession(bool on) noexcept : on_(on) {
    if (!on_) return;
    struct alignas(64) Config {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    _tile_loadconfig(&config);
  }
  ~TileSession() {
    if (on_) _tile_release();
  }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;

 private:
  bool on_;
};

/// C[16 or 32 rows x 32] (+)= A B on tiles: C in tiles 0-3, A in 4-5, B in 6-7; `panel` is half a
/// panel of B.
template <class Unit, bool TwoRows, class Prefetch = NoPrefetch>
void tile_register_product(Index depth, const typename Unit::Left* a, Index lda,
                           const typename Unit::Element* panel, typename Unit::Sum* c, Index ldc,
                           bool accumulate, Prefetch prefetch = {}) noexcept {
  static_assert(sizeof(typename Unit::Left) == 4 && sizeof(typename Unit::Element) == 4);
  // The intrinsics do not tell the compiler that they read memory.
  asm volatile("" ::: "memory");
  const auto c_step = static_cast<std::size_t>(ldc) * 4, a_step = static_cast<std::size_t>(lda) * 4;
  if (accumulate) {
    _tile_loadd(0, c, c_step);
    _tile_loadd(1, c + 16, c_step);
    if constexpr (TwoRows) {
      _tile_loadd(2, c + 16 * ldc, c_step);
      _tile_loadd(3, c + 16 * ldc + 16, c_step);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (TwoRows) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  for (Index k = 0; k < depth; k += 16, a += 16, panel += 16 * 64) {
    _tile_loadd(6, panel, 256);
    _tile_loadd(7, panel + 16, 256);
    _tile_loadd(4, a, a_step);
    Unit::template multiply<0>();
    Unit::template multiply<1>();
    if constexpr (TwoRows) {
      _tile_loadd(5, a + 16 * lda, a_step);
      Unit::template multiply<2>();
      Unit::template multiply<3>();
    }
    for (Index i = 0; i < 16; ++i) prefetch(k + i);
  }
  _tile_stored(0, c, c_step);
  _tile_stored(1, c + 16, c_step);
  if constexpr (TwoRows) {
    _tile_stored(2, c + 16 * ldc, c_step);
    _tile_stored(3, c + 16 * ldc + 16, c_step);
  }
}

#else

inline bool tiles_granted() noexcept { return false; }

struct TileSession {
  explicit TileSession(bool) noexcept {}
  ~TileSession() {}
};

/// Named by code that an Arch without tiles never calls.
template <class Unit, bool TwoRows, class Prefetch = NoPrefetch>
void tile_register_product(Index, const typename Unit::Left*, Index, const typename Unit::Element*,
                           typename Unit::Sum*, Index, bool, Prefetch = {}) noexcept;

#endif

/// C[rows x 64] (+)= A B on tiles, rows <= 32: rows up to the next multiple of 16 are written.
template <class Unit, class Prefetch = NoPrefetch>
void tile_panel_product(Index rows, Index depth, const typename Unit::Left* a, Index lda,
                        const typename Unit::Element* panel, typename Unit::Sum* c, Index ldc,
                        bool accumulate, Prefetch prefetch = {}) noexcept {
  if (rows > 16) {
    tile_register_product<Unit, true>(depth, a, lda, panel, c, ldc, accumulate, prefetch);
    tile_register_product<Unit, true>(depth, a, lda, panel + 32, c + 32, ldc, accumulate);
  } else {
    tile_register_product<Unit, false>(depth, a, lda, panel, c, ldc, accumulate, prefetch);
    tile_register_product<Unit, false>(depth, a, lda, panel + 32, c + 32, ldc, accumulate);
  }
}

}  // namespace weft::detail
