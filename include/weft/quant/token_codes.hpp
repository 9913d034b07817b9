#pragma once

#include <weft/core/bytes.hpp>
#include <weft/core/executor.hpp>
#include <weft/core/reduce.hpp>
#include <weft/quant/affine.hpp>

/// Activations to 8-bit integers on their way to an integer product: every row (token) on the
/// symmetric grid of its own largest magnitude,
///
///   scale[m] = max |x[m, :]| / 127,   code[m, k] = rint(x[m, k] / scale[m]),   -127 to 127,
///
/// or all on one affine grid that calibration has found. The same codes as affine.hpp's, a register
/// at a time. A row of zeros has scale 1. A row with a NaN or an infinity has scale NaN, so that
/// all its results are NaN. Two passes over x, the second from cache; memory: a byte per element.
namespace weft::quant {

/// Codes in scratch memory: rows of `stride` bytes, zeros behind the elements of a row. Signed
/// codes are kept as they are, or with 128 added as unsigned bytes.
struct TokenCodes {
  std::uint8_t* codes;
  Index stride;
  float* scale;  ///< of each row
};

namespace detail {

/// The codes clamp(rint(x / scale) + zero) of a row as bytes.
template <class A, class S>
void encode_row(const S* x, Index n, const AffineGrid<float>& grid, std::int32_t shift,
                std::uint8_t* to) noexcept {
  using V = Vec<float, A>;
  constexpr Index W = kWidth<float, A>;
  const V scale(grid.scale), zero(static_cast<float>(grid.zero));
  const V low(static_cast<float>(grid.codes.low)), high(static_cast<float>(grid.codes.high));
  const Vec<std::int32_t, A> up(shift);
  const auto encode = [&](const V& v) {
    const V code = xsimd::nearbyint(v / scale) + zero;
    return xsimd::to_int(xsimd::min(xsimd::max(code, low), high)) + up;
  };
  Index k = 0;
  for (; k + W <= n; k += W) store_bytes<A>(to + k, encode(load_as<float, A>(x + k)));
  if (k < n) store_bytes_partial<A>(to + k, encode(load_as_partial<float, A>(x + k, n - k)), n - k);
}

/// The grid of one token, with a scale of NaN where it is not finite.
template <class A, class S>
AffineGrid<float> token_grid(const S* x, Index n) noexcept {
  const float largest = row_max_magnitude<A>(x, n), scale = largest / 127.f;
  if (!std::isfinite(scale)) return {std::numeric_limits<float>::quiet_NaN(), 0, {0, 0}};
  return {scale == 0 ? 1.f : scale, 0, {-127, 127}};
}

inline constexpr Index kTokensAtOnce = 32;

}  // namespace detail

/// Rows of x, stride 1, to codes; `fixed`, if not null, is the grid of all. `shift` is added to
/// every code: 128 makes unsigned bytes of signed ones.
template <class A, class S>
void encode_tokens(const View<const S, 2>& x, const AffineGrid<float>* fixed, std::int32_t shift,
                   const TokenCodes& to, const Context& ctx) {
  const Index rows = x.extent(0), cols = x.extent(1);
  ctx.parallel(ceil_div(rows, detail::kTokensAtOnce), [&](Index task, Arena&) {
    const Index end = std::min((task + 1) * detail::kTokensAtOnce, rows);
    for (Index r = task * detail::kTokensAtOnce; r < end; ++r) {
      const S* row = x.pointer(r);
      const auto grid = fixed ? *fixed : detail::token_grid<A>(row, cols);
      std::uint8_t* codes = to.codes + r * to.stride;
      detail::encode_row<A>(row, cols, grid, shift, codes);
      std::fill(codes + cols, codes + to.stride, std::uint8_t{0});
      to.scale[r] = grid.scale;
    }
  });
}

}  // namespace weft::quant
