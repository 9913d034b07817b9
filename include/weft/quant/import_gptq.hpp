#pragma once

#include <weft/quant/eight_bit_operator.hpp>
#include <weft/quant/four_bit_operator.hpp>
#include <weft/quant/gptq_checkpoint.hpp>

#include <algorithm>
#include <numeric>

/// Layers of GPTQ checkpoints (gptq_checkpoint.hpp) as operators. Where g_idx is not ascending
/// (activation order), columns are sorted by group, and the operator permutes its inputs alike.
namespace weft::quant {

namespace detail {

/// Inputs sorted by group, stably.
inline Tensor<std::int32_t, 1> sorted_by_group(const Tensor<std::int32_t, 1>& group_of) {
  Tensor<std::int32_t, 1> order(group_of.shape());
  std::iota(order.span().begin(), order.span().end(), 0);
  std::ranges::stable_sort(order.span(), {}, [&](std::int32_t k) { return group_of(k); });
  return order;
}

/// The most inputs that a group may have so that none is of two groups of the sorted ones: as large
/// as these are, if they are equally large but for the last.
inline Index common_group(const Tensor<std::int32_t, 1>& group_of,
                          const Tensor<std::int32_t, 1>& order) {
  Index group = 0;
  for (Index k = 1; k < order.extent(0); ++k)
    if (group_of(order(k)) != group_of(order(k - 1))) group = std::gcd(group, k);
  return group == 0 ? order.extent(0) : group;
}

inline void check_gptq(const GptqMatrix& w) {
  const Index K = w.codes.extent(0), N = w.codes.extent(1), groups = w.scales.extent(0);
  require(w.scales.extent(1) == N && w.zeros.shape() == w.scales.shape() && w.g_idx.extent(0) == K,
          "GPTQ layer: codes are ", w.codes.view(), ", scales ", w.scales.view(), ", zeros ",
          w.zeros.view(), ", g_idx has ", w.g_idx.extent(0), " entries");
  for (Index k = 0; k < K; ++k)
    require(w.g_idx(k) >= 0 && w.g_idx(k) < groups, "GPTQ layer: g_idx[", k, "] is ", w.g_idx(k),
            ", there are ", groups, " groups");
}

/// A GPTQ layer as [out, in] with columns sorted by group, stably; order is empty if they were.
struct SortedGptq {
  QuantizedMatrix<std::uint8_t> matrix;
  Tensor<std::int32_t, 1> order;

  explicit SortedGptq(const GptqMatrix& w) {
    check_gptq(w);
    const Index K = w.codes.extent(0), N = w.codes.extent(1);
    order = sorted_by_group(w.g_idx);
    const Index group = std::max<Index>(common_group(w.g_idx, order), 1);
    const Index groups = ceil_div(K, group);
    matrix = {Tensor<std::uint8_t, 2>({N, K}), Tensor<float, 2>({N, groups}),
              Tensor<std::int32_t, 2>({N, groups}), Block::group(group), unsigned_codes(w.bits)};
    for (Index n = 0; n < N; ++n) {
      for (Index k = 0; k < K; ++k) matrix.codes(n, k) = w.codes(order(k), n);
      for (Index g = 0; g < groups; ++g) {
        const Index from = w.g_idx(order(g * group));
        matrix.scale(n, g) = w.scales(from, n);
        matrix.zero(n, g) = w.zeros(from, n);
      }
    }
    if (std::ranges::is_sorted(order.span())) order = {};
  }
};

}  // namespace detail

/// A GPTQ layer of 2 to 4 bits; scales, and what is left of zero points, become fp16. Throws for
/// more bits, where shapes do not fit, and as FourBitOperator does.
template <class A = DefaultArch>
FourBitOperator<A> four_bit_operator(const GptqMatrix& w, View<const float, 1> bias = {},
                                     Inputs inputs = Inputs::exact) {
  require(w.bits <= 4, "four_bit_operator: a GPTQ layer of ", w.bits,
          " bits is one for eight_bit_operator");
  const detail::SortedGptq sorted(w);
  return FourBitOperator<A>(FourBitWeight<A>(sorted.matrix), bias, inputs, sorted.order);
}

/// The same of up to 8 bits, a byte per weight; exact.
template <class A = DefaultArch>
EightBitOperator<A> eight_bit_operator(const GptqMatrix& w, View<const float, 1> bias = {}) {
  const detail::SortedGptq sorted(w);
  return EightBitOperator<A>(EightBitWeight<A>(sorted.matrix), bias, sorted.order);
}

}  // namespace weft::quant
