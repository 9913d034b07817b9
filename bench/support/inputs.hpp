#pragma once

#include <weft/core/tensor.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace bench {

using weft::Index;

/// Tensor of reproducible values, uniform in [-1, 1): the top 24 bits of a multiplicative hash of
/// the position. Only their size matters to a benchmark: no zeros, denormals or repeated rows.
template <class T, std::size_t Rank>
weft::Tensor<T, Rank> uniform(const Index (&shape)[Rank], std::uint64_t seed = 1) {
  weft::Tensor<T, Rank> out(std::to_array(shape));
  std::uint64_t state = seed;
  for (T& x : out.span()) {
    state += 0x9e3779b97f4a7c15u;
    const std::uint64_t hash = (state ^ (state >> 29)) * 0xbf58476d1ce4e5b9u;
    x = T(static_cast<float>(static_cast<std::int32_t>(hash >> 32) >> 7) * 0x1p-24f);
  }
  return out;
}

}  // namespace bench
