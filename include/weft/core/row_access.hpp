#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/view.hpp>

#include <algorithm>
#include <cstddef>
#include <type_traits>

/// Rows of channels of arrays [B, H, N, C] in memory of any storage type, as an engine sees them:
/// it reads and writes them in its own element type T and is compiled once per T.
namespace weft::detail {

/// Copies a row of n elements into the engine's type and fills it with zeros up to `padded`.
template <class T, class A, class S>
void convert_row(const S* from, T* to, Index n, Index padded) noexcept {
  constexpr Index W = kWidth<T, A>;
  Index d = 0;
  for (; d + W <= n; d += W) store<A>(to + d, load_as<T, A>(from + d));
  if (d < n) {
    const Vec<T, A> tail = load_as_partial<T, A>(from + d, n - d);
    store_partial<A>(to + d, tail, std::min(W, padded - d));
    d += W;
  }
  for (; d < padded; ++d) to[d] = T(0);
}

template <class T, class A, class S>
void load_row(const void* row, T* to, Index n, Index padded) noexcept {
  convert_row<T, A>(static_cast<const S*>(row), to, n, padded);
}

template <class T, class A, class S>
void store_scaled_row(const T* from, T factor, void* row, Index n) noexcept {
  constexpr Index W = kWidth<T, A>;
  S* to = static_cast<S*>(row);
  const Vec<T, A> f(factor);
  Index d = 0;
  for (; d + W <= n; d += W) store_as<A>(to + d, load<A>(from + d) * f);
  if (d < n) store_as_partial<A>(to + d, load_partial<A>(from + d, n - d) * f, n - d);
}

/// row[0, n) *= factor; n is a multiple of the vector.
template <class T, class A>
void scale_row(T* row, Index n, T factor) noexcept {
  const Vec<T, A> f(factor);
  for (Index e = 0; e < n; e += kWidth<T, A>) store<A>(row + e, load<A>(row + e) * f);
}

/// Rows that are read; strides in bytes. Each of them serves `group` heads of the result.
template <class T>
struct InputRows {
  const std::byte* base;
  Index batch, head, row, group;
  Index row_bytes;  ///< of the channels of one row
  bool in_place;    ///< rows are T, of whole registers
  void (*load)(const void* row, T* to, Index n, Index padded) noexcept;

  /// n rows from token i of head h of the result, padded with zeros and `ld` apart.
  void read(Index b, Index h, Index i, Index n, Index dim, Index padded, T* to,
            Index ld) const noexcept {
    const std::byte* from = at(b, h, i);
    for (; n > 0; --n, from += row, to += ld) load(from, to, dim, padded);
  }

  const std::byte* at(Index b, Index h, Index i) const noexcept {
    return base + b * batch + h / group * head + i * row;
  }
};

/// Rows that are written; strides in bytes. `store` scales a row by a factor and converts it.
template <class T>
struct OutputRows {
  std::byte* base;
  Index batch, head, row;
  bool in_place;  ///< rows are T, of whole registers
  void (*store)(const T* from, T factor, void* row, Index n) noexcept;

  std::byte* at(Index b, Index h, Index i) const noexcept {
    return base + b * batch + h * head + i * row;
  }
};

template <class S>
constexpr Index byte_stride(Index elements) noexcept {
  return elements * static_cast<Index>(sizeof(S));
}

/// x [B, H / group, N, C] as the rows of H heads.
template <class T, class A, class S>
InputRows<T> input_rows(const View<const S, 4>& x, Index group) noexcept {
  return {reinterpret_cast<const std::byte*>(x.data()),
          byte_stride<S>(x.stride(0)),
          byte_stride<S>(x.stride(1)),
          byte_stride<S>(x.stride(2)),
          group,
          byte_stride<S>(x.extent(3)),
          std::is_same_v<S, T> && x.extent(3) % kWidth<T, A> == 0,
          &load_row<T, A, S>};
}

template <class T, class A, class S>
OutputRows<T> output_rows(const View<S, 4>& x) noexcept {
  return {reinterpret_cast<std::byte*>(x.data()),
          byte_stride<S>(x.stride(0)),
          byte_stride<S>(x.stride(1)),
          byte_stride<S>(x.stride(2)),
          std::is_same_v<S, T> && x.extent(3) % kWidth<T, A> == 0,
          &store_scaled_row<T, A, S>};
}

}  // namespace weft::detail
