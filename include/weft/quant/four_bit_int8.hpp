#pragma once

#include <weft/core/gemm_int8.hpp>
#include <weft/quant/four_bit_kernel.hpp>
#include <weft/quant/token_codes.hpp>

/// Products of 8-bit tokens and 4-bit integers with a scale per group:
///
///   sums[m, o] = sum_g scale[o, g] (sum_{k in g} x[m, k] (first + code[o, k])) + offset[o, g]
///   xs[m, g] xs[m, g]   = sum_{k in g} x[m, k]
///
/// Codes of weights are the unsigned operand of the dot product of bytes, those of tokens the
/// signed one. The inner sums are exact integers; every group costs a conversion and a multiply-add
/// per output, which for groups of 32 is a quarter of the time of its products.
namespace weft::quant::detail {

using weft::detail::ByteQuad;
using weft::detail::DotQuads;
using weft::detail::SignedSide;

/// Rows of signed codes, their scales, and their sums over groups.
struct GroupedTokens {
  const ByteQuad* codes;
  Index stride;  ///< quads
  const std::int32_t* sums;
  Index groups;
};

/// xs[m, g]: the codes of groups of `group` tokens, the last one shorter.
inline void sum_groups(const TokenCodes& tokens, Index rows, Index cols, Index group,
                       std::int32_t* sums) noexcept {
  for (Index m = 0; m < rows; ++m) {
    const auto* row = reinterpret_cast<const std::int8_t*>(tokens.codes + m * tokens.stride);
    for (Index k = 0; k < cols; k += group) {
      std::int32_t sum = 0;
      for (Index i = k; i < std::min(k + group, cols); ++i) sum += row[i];
      *sums++ = sum;
    }
  }
}

/// The two halves of a register of words as quads of bytes.
template <class A>
struct NibbleQuads {
  using V = Vec<std::int32_t, A>;
  V lower, upper;

  [[gnu::always_inline]] explicit NibbleQuads(const std::uint32_t* words) noexcept {
    const auto both = load<A>(words);
    const Vec<std::uint32_t, A> mask(0x0f0f0f0fu);
    lower = reinterpret<std::int32_t>(both & mask);
    upper = reinterpret<std::int32_t>((both >> 4) & mask);
  }
};

/// A panel of codes as quads [quads][kCols].
template <class A>
void decode_quads(const FourBitWeight<A>& w, Index panel, ByteQuad* to) noexcept {
  constexpr Index W = kWidth<float, A>, NR = FourBitWeight<A>::kCols, kHalf = NR / 2;
  const auto* words = w.words(panel);
  auto* out = reinterpret_cast<std::int32_t*>(to);
  for (Index q = 0; q < w.quads(); ++q, words += kHalf, out += NR)
    for (Index c = 0; c < kHalf; c += W) {
      const NibbleQuads<A> quads(words + c);
      store<A>(out + c, quads.lower);
      store<A>(out + kHalf + c, quads.upper);
    }
}

/// Adds the sums of a group to the reals of R rows, `ldc` apart.
template <class A, int R>
[[gnu::always_inline]] inline void add_group(
    const Vec<std::int32_t, A> (&sums)[R][weft::detail::kTileVectors<A>], const PanelGrid<A>& grid,
    bool has_offset, std::int32_t first, const std::int32_t* xs, Index xs_stride,
    Vec<float, A>* reals) noexcept {
  constexpr int NV = weft::detail::kTileVectors<A>;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const std::int32_t x = xs[r * xs_stride];
    const Vec<std::int32_t, A> shift(first * x);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      Vec<float, A>& real = reals[r * NV + v];
      real = mul_add(xsimd::to_float(sums[r][v] + shift), grid.scale[v], real);
      if (has_offset) real = mul_add(Vec<float, A>(static_cast<float>(x)), grid.offset[v], real);
    }
  }
}

/// R rows by one panel of quads, to sums [R][kCols].
template <class A, int R>
void grouped_tile(const FourBitWeight<A>& w, Index panel, const ByteQuad* quads,
                  const GroupedTokens& x, Index row, float* to) noexcept {
  constexpr int NV = weft::detail::kTileVectors<A>;
  constexpr Index NR = FourBitWeight<A>::kCols, W = kWidth<float, A>;
  const auto first = static_cast<std::int32_t>(w.table()[0]);
  Vec<float, A> reals[R * NV];
  for (auto& real : reals) real = Vec<float, A>(0.f);
  const auto* codes = x.codes + row * x.stride;
  for (Index g = 0, q = 0; q < w.quads(); ++g, q += w.group() / 4) {
    weft::detail::TileSums<A, R, NV, std::int32_t> sums;
    sums.clear();
    sums.template add<DotQuads<A, SignedSide::left>>(std::min(w.group() / 4, w.quads() - q),
                                                     codes + q, x.stride, quads + q * NR, NR,
                                                     weft::detail::NoPrefetch{});
    add_group<A, R>(sums.acc, PanelGrid<A>(w, panel, g), w.has_offset(), first,
                    x.sums + row * x.groups + g, x.groups, reals);
  }
  for (int i = 0; i < R * NV; ++i) store<A>(to + i * W, reals[i]);
}

/// All rows by one panel; `done(row, rows, sums)` takes up to 6 rows of sums at a time.
template <class A, class Done>
void grouped_product(const FourBitWeight<A>& w, Index panel, const ByteQuad* quads,
                     const GroupedTokens& x, Index rows, float* sums, Done done) {
  Index row = 0;
  const auto tile = [&]<int R>(std::integral_constant<int, R>) {
    grouped_tile<A, R>(w, panel, quads, x, row, sums);
    done(row, Index{R}, sums);
    row += R;
  };
  while (rows - row >= 6) tile(std::integral_constant<int, 6>{});
  if (rows - row >= 4) tile(std::integral_constant<int, 4>{});
  if (rows - row >= 2) tile(std::integral_constant<int, 2>{});
  if (rows - row == 1) tile(std::integral_constant<int, 1>{});
}

/// One row by one panel, decoded in registers.
template <class A>
void grouped_gemv(const FourBitWeight<A>& w, Index panel, const GroupedTokens& x,
                  float* to) noexcept {
  using Op = DotQuads<A, SignedSide::left>;
  constexpr int NV = weft::detail::kTileVectors<A>;
  constexpr Index W = kWidth<float, A>, kHalf = FourBitWeight<A>::kHalf;
  constexpr int kWords = static_cast<int>(kHalf / W);
  const auto first = static_cast<std::int32_t>(w.table()[0]);
  Vec<float, A> reals[NV];
  for (auto& real : reals) real = Vec<float, A>(0.f);
  const auto* words = w.words(panel);
  for (Index g = 0, q = 0; q < w.quads(); ++g) {
    Vec<std::int32_t, A> sums[1][NV];
    for (auto& s : sums[0]) s = Vec<std::int32_t, A>(0);
    for (const Index end = std::min(q + w.group() / 4, w.quads()); q < end; ++q, words += kHalf) {
      const auto xq = Op::broadcast(x.codes + q);
#pragma GCC unroll 2
      for (int v = 0; v < kWords; ++v) {
        const NibbleQuads<A> quads(words + v * W);
        sums[0][v] = Op::apply(xq, quads.lower, sums[0][v]);
        sums[0][v + kWords] = Op::apply(xq, quads.upper, sums[0][v + kWords]);
      }
    }
    add_group<A, 1>(sums, PanelGrid<A>(w, panel, g), w.has_offset(), first, x.sums + g, x.groups,
                    reals);
  }
  for (int v = 0; v < NV; ++v) store<A>(to + v * W, reals[v]);
}

}  // namespace weft::quant::detail
