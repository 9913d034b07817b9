#pragma once

#include "golden/metadata.hpp"
#include <weft/core/gemm.hpp>

#include <string>

/// Linear maps of golden files whose expected values include them.
namespace golden {

/// y = x W^T + b over the last axis of x; b is left out where the file has no tensor of that name.
template <class T, std::size_t Rank>
weft::Tensor<T, Rank> project(const weft::SafetensorsFile& file, const weft::Tensor<T, Rank>& x,
                              const std::string& weight, const std::string& bias) {
  const auto w = file.read<T, 2>(weight);
  auto shape = x.shape();
  shape[Rank - 1] = w.extent(0);
  auto y = unwritten<T, Rank>(shape);
  const weft::Index rows = x.size() / w.extent(1);
  const weft::View<const T, 2> from(x.data(), {rows, w.extent(1)});
  const weft::View<T, 2> to(y.data(), {rows, w.extent(0)});
  weft::gemm(from, w.view().transpose(0, 1), to);
  if (!file.contains(bias)) return y;
  const auto b = file.read<T, 1>(bias);
  for (weft::Index r = 0; r < rows; ++r)
    for (weft::Index c = 0; c < b.size(); ++c) to(r, c) += b(c);
  return y;
}

/// [B, N, H D] as [B, H, N, D].
template <class X>
weft::View<X, 4> as_heads(const weft::View<X, 3>& x, weft::Index heads) {
  const weft::Index channels = x.extent(2) / heads;
  return {x.data(),
          {x.extent(0), heads, x.extent(1), channels},
          {x.stride(0), channels, x.stride(1), 1}};
}

}  // namespace golden
