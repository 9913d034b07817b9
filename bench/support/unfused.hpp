#pragma once

#include <weft/core/gemm.hpp>
#include <weft/core/lanes.hpp>
#include <weft/core/math.hpp>
#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

/// Attention as it is written without a fused kernel, from weft's own parts:
///
///   S = Q K^T (gemm),   P = softmax of every row of scale S,   out = P V (gemm)
///
/// one key/value head at a time, the query heads of its group together. Every row softmax/... has
/// one of these beside it, which it must not lose to.
namespace bench {

using weft::Index;

/// The first `visible` of `count` logits s become softmax(scale s), scale > 0, and the others zero.
/// Memory up to the next whole register is overwritten.
template <class T>
void softmax_row(T* row, T scale, Index visible, Index count) {
  using V = weft::Vec<T>;
  constexpr Index lanes = weft::kWidth<T>;
  const Index end = weft::round_up(visible, lanes);
  constexpr T nothing = -std::numeric_limits<T>::infinity();
  std::fill(row + visible, row + end, nothing);
  V tops(nothing), sums(T(0));
  for (Index j = 0; j < end; j += lanes)
    tops = xsimd::max(tops, weft::load<weft::DefaultArch>(row + j));
  const V top(weft::detail::max_lanes(tops));
  for (Index j = 0; j < end; j += lanes) {
    const V p = weft::math::exp(V(scale) * (weft::load<weft::DefaultArch>(row + j) - top));
    weft::store<weft::DefaultArch>(row + j, p);
    sums += p;
  }
  const V factor(T(1) / weft::detail::sum_lanes(sums));
  for (Index j = 0; j < end; j += lanes)
    weft::store<weft::DefaultArch>(row + j, weft::load<weft::DefaultArch>(row + j) * factor);
  std::fill(row + end, row + std::max(end, count), T(0));
}

/// S: storage of q, k, v and out, whose tensors are packed. A causal mask, aligned at the bottom
/// right, is applied to whole rows of S: the products before and after do not know it.
template <class S>
class UnfusedAttention {
 public:
  using T = weft::Accumulator<S>;

  explicit UnfusedAttention(bool causal) : causal_(causal) {}

  void operator()(const weft::Tensor<S, 4>& q, const weft::Tensor<S, 4>& k,
                  const weft::Tensor<S, 4>& v, weft::Tensor<S, 4>& out,
                  const weft::Context& context) {
    const Index group = q.extent(1) / k.extent(1);
    const Index rows = group * q.extent(2), keys = k.extent(2);
    const Index stride = weft::round_up(keys, weft::kWidth<T>);
    if (scores_.size() < rows * stride) scores_ = weft::Tensor<T, 1>({rows * stride});
    const weft::View<T, 2> scores(scores_.data(), {rows, keys}, {stride, 1});
    const T scale = 1 / std::sqrt(static_cast<T>(q.extent(3)));
    for (Index b = 0; b < q.extent(0); ++b)
      for (Index h = 0; h < k.extent(1); ++h) {
        weft::gemm(head_of(q, b, h * group, rows), head_of(k, b, h, keys).transpose(0, 1), scores,
                   context);
        for (Index r = 0; r < rows; ++r)
          softmax_row(scores.pointer(r), scale, visible(r % q.extent(2), q.extent(2), keys), keys);
        weft::gemm(scores, head_of(v, b, h, keys), head_of(out, b, h * group, rows), context);
      }
  }

 private:
  Index visible(Index query, Index queries, Index keys) const {
    return causal_ ? std::max<Index>(0, query + 1 + keys - queries) : keys;
  }

  /// `rows` rows from the first of head h on, as a matrix: the heads of a group follow each other.
  template <class Tensor>
  static auto head_of(Tensor& tensor, Index b, Index h, Index rows) {
    auto* data = tensor.view().pointer(b, h);
    return weft::View<std::remove_pointer_t<decltype(data)>, 2>(data, {rows, tensor.extent(3)});
  }

  weft::Tensor<T, 1> scores_;
  bool causal_;
};

}  // namespace bench
