#pragma once

#include <weft/core/gemm_bf16.hpp>
#include <weft/core/gemv.hpp>
#include <weft/quant/operator_verbs.hpp>

/// Products with a weight that is kept in a few bits and decoded on the way: y = epilogue(x W^T).
///
/// A weight W has rows(), cols(), padded_cols() (a multiple of 4), its type `arch`, and in its
/// namespace, for panels of kTileCols outputs,
///
///   decode_panel(w, panel, k, steps, to)   inputs [k, k + steps) as rows of floats; k and steps
///   are
///                                          multiples of 4 within padded_cols()
///   panel_gemv(w, panel, x, sums)          sums over all inputs for one row x of padded_cols()
///
/// Rows of floats multiply decoded floats; rows of bf16 multiply pairs of bf16, by AMX or AVX-512
/// BF16 where the target has them. A block of W is decoded once for about 1 MB of rows of x, which
/// then takes a few percent of the time; a single row takes the bytes of W over the bandwidth.
namespace weft::quant::detail {

/// B of the loop nest of gemm_blocked.hpp, decoded when a task is about to use it.
template <class K, class Weight>
struct DecodedPanels {
  using Element = typename K::Element;
  static constexpr bool kMayCutRows = false;  // every piece would decode the same block
  static constexpr Index kFetched = 0;        // decoding has brought it to L2

  const Weight& weight;

  Index pass() const noexcept { return K::kDepthBlock; }

  weft::detail::PackedPanels<K> block(Index panel0, Index panels, Index k, Index steps,
                                      Arena& arena) const {
    const Index rows = round_up(steps * K::kNumbers, 4), stride = rows / K::kNumbers * K::kCols;
    auto* to = arena.take<Element>(panels * stride);
    for (Index j = 0; j < panels; ++j)
      decode(panel0 + j, k * K::kNumbers, rows, to + j * stride, arena);
    return {to, stride};
  }

 private:
  void decode(Index panel, Index k, Index rows, float* to, Arena&) const {
    decode_panel(weight, panel, k, std::min(rows, weight.padded_cols() - k), to);
  }

  /// Pairs of bf16, zeros up to whole tiles of pairs.
  void decode(Index panel, Index k, Index rows, Bf16Pair* to, Arena& arena) const {
    constexpr Index kAtOnce = 32, NR = K::kCols;
    Arena::Frame frame(arena);
    float* values = arena.take<float>(kAtOnce * NR);
    const Index end = std::min(k + rows, weight.padded_cols());
    for (Index i = 0; i < rows; i += kAtOnce) {
      const Index steps = std::clamp<Index>(end - k - i, 0, kAtOnce);
      decode_panel(weight, panel, k + i, steps, values);
      std::fill(values + steps * NR, values + kAtOnce * NR, 0.f);
      for (Index r = 0; r < std::min(kAtOnce, rows - i); r += 2)
        weft::detail::pair_rows<typename K::Arch>(values + r * NR, values + (r + 1) * NR, NR,
                                                  to + (i + r) / 2 * NR);
    }
  }
};

/// Calls f(panel, arena) for all panels of a weight, in tasks of `work` bytes or so per panel.
template <class Weight, class F>
void for_panels(const Weight& weight, Index work, const Context& ctx, F f) {
  const Index panels =
      ceil_div(weight.rows(), weft::detail::kTileCols<float, typename Weight::arch>);
  const Index block = std::max<Index>(1, weft::detail::kGemvTaskBytes / std::max<Index>(work, 1));
  ctx.parallel(ceil_div(panels, block), [&](Index task, Arena& arena) {
    for (Index j = task * block; j < std::min((task + 1) * block, panels); ++j) f(j, arena);
  });
}

/// Sums [count][kTileCols] of a panel through the epilogue to the rows of y from `row` on.
template <class A, class Y, class E>
void store_panel(const float* sums, const View<Y, 2>& y, Index row, Index count, Index panel,
                 const E& epilogue) noexcept {
  using Kernel = weft::detail::FmaKernel<float, A>;
  const Index col = panel * Kernel::kCols;
  weft::detail::store_tile<Kernel>(sums, y, row, col, count,
                                   std::min(Kernel::kCols, y.extent(1) - col), epilogue);
}

/// One row.
template <class Weight, class S, class Y, class E>
void multiply_row(const View<const S, 2>& x, const Weight& weight, const View<Y, 2>& y,
                  const E& epilogue, const Context& ctx) {
  using A = typename Weight::arch;
  constexpr Index NR = weft::detail::kTileCols<float, A>;
  const Index cols = weight.cols(), padded = weight.padded_cols();
  float* row = ctx.arena().template take<float>(padded);
  for (Index k = 0; k < padded; ++k) row[k] = k < cols ? static_cast<float>(x(0, k)) : 0.f;
  for_panels(weight, padded * NR, ctx, [&](Index j, Arena&) {
    alignas(64) float sums[NR];
    panel_gemv(weight, j, row, sums);
    store_panel<A>(sums, y, 0, 1, j, epilogue);
  });
}

/// y = epilogue(x W^T); the shapes fit, y is not empty and rows of x have stride 1.
template <class Weight, class S, class Y, class E>
void multiply_decoded(const View<const S, 2>& x, const Weight& weight, const View<Y, 2>& y,
                      const E& epilogue, const Context& ctx) {
  using A = typename Weight::arch;
  Arena::Frame frame(ctx.arena());
  if (x.extent(0) == 1) return multiply_row(x, weight, y, epilogue, ctx);
  const auto by = [&]<class K>(const K&) {
    weft::detail::multiply_rows<K>(x, DecodedPanels<K, Weight>{weight}, 0,
                                   ceil_div(weight.rows(), K::kCols), y, 0, epilogue, ctx);
  };
  if constexpr (std::is_same_v<S, bf16> && weft::detail::kBf16Unit<A>)
    weft::detail::with_bf16_kernel<A>(by);
  else
    by(weft::detail::FmaKernel<float, A>{});
}

/// A bias [rows] of its own, or none where the view has no data. Throws where it does not fit.
inline Tensor<float, 1> copy_bias(View<const float, 1> bias, Index rows) {
  if (bias.data() == nullptr) return {};
  require(bias.extent(0) == rows, "operator: bias has ", bias.extent(0), " values, the weight has ",
          rows, " rows");
  Tensor<float, 1> out({rows});
  for (Index o = 0; o < rows; ++o) out(o) = bias(o);
  return out;
}

}  // namespace weft::quant::detail
