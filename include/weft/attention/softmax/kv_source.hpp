#pragma once

#include <weft/core/row_access.hpp>

#include <concepts>
#include <cstdint>

/// Where keys and values come from: a source yields runs of them, in whatever storage; the engine
/// sees tiles of rows in its own element type and knows neither storage nor layout. So the engine
/// is compiled once per policy set and not once per pair of storage types.
namespace weft {

/// `count` consecutive tokens of one head at constant strides (in elements), channels contiguous.
template <class K, class V>
struct KvRun {
  const K* keys;
  Index key_step;
  const V* values;
  Index value_step;
  Index count;
};

/// A source of keys and values:
///   Index keys(b)        number of tokens of batch element b
///   run(b, h, j)         the longest run that starts at token j < keys(b) of KV head h
///   Index kv_heads(), key_dim(), value_dim()
template <class S>
concept KvSource = requires(const S& s, Index i) {
  { s.keys(i) } noexcept -> std::same_as<Index>;
  { s.run(i, i, i).count } -> std::convertible_to<Index>;
  { s.kv_heads() } noexcept -> std::same_as<Index>;
  { s.key_dim() } noexcept -> std::same_as<Index>;
  { s.value_dim() } noexcept -> std::same_as<Index>;
};

/// k [B, Hk, M, D] and v [B, Hk, M, E], any strides but 1 in the last axis.
template <class K, class V>
struct ContiguousKv {
  View<const K, 4> k;
  View<const V, 4> v;

  Index keys(Index) const noexcept { return k.extent(2); }
  Index kv_heads() const noexcept { return k.extent(1); }
  Index key_dim() const noexcept { return k.extent(3); }
  Index value_dim() const noexcept { return v.extent(3); }
  KvRun<K, V> run(Index b, Index h, Index j) const noexcept {
    return {k.pointer(b, h, j), k.stride(2), v.pointer(b, h, j), v.stride(2), k.extent(2) - j};
  }
};

/// Ragged batch: k [Tk, Hk, D], v [Tk, Hk, E]; batch element b owns tokens cu[b] .. cu[b + 1].
template <class K, class V>
struct RaggedKv {
  View<const K, 3> k;
  View<const V, 3> v;
  View<const std::int32_t, 1> cu;

  Index keys(Index b) const noexcept { return Index{cu(b + 1)} - cu(b); }
  Index kv_heads() const noexcept { return k.extent(1); }
  Index key_dim() const noexcept { return k.extent(2); }
  Index value_dim() const noexcept { return v.extent(2); }
  KvRun<K, V> run(Index b, Index h, Index j) const noexcept {
    const Index token = cu(b) + j;
    return {k.pointer(token, h), k.stride(0), v.pointer(token, h), v.stride(0), keys(b) - j};
  }
};

namespace detail {

/// Rows of the engine's element type: row j at `at + j * step`.
template <class T>
struct RowsOf {
  const T* at;
  Index step;
};

/// A KvSource with its type erased, seen through rows of T.
///
/// `key_rows` and `value_rows` give tokens j0 .. j0 + n of head h: in place where the storage is T
/// and one run holds them all, otherwise converted into `buffer` (n rows of round_up(dim, width)).
/// Value rows are readable, and zero or meaningless but finite, up to a multiple of the vector.
template <class T>
struct KvRows {
  const void* source;
  Index kv_heads, key_dim, value_dim;
  Index (*keys)(const void* source, Index b) noexcept;
  RowsOf<T> (*key_rows)(const void* source, Index b, Index h, Index j0, Index n,
                        T* buffer) noexcept;
  RowsOf<T> (*value_rows)(const void* source, Index b, Index h, Index j0, Index n, bool dense,
                          T* buffer) noexcept;
  void (*prefetch)(const void* source, Index b, Index h, Index j0, Index n, bool values) noexcept;
};

/// Asks for the cache lines of one row.
template <class S>
void prefetch_row(const S* row, Index n) noexcept {
  constexpr Index line = 64 / static_cast<Index>(sizeof(S));
  for (Index d = 0; d < n; d += line) __builtin_prefetch(row + d, 0, 2);
}

/// Asks for the keys, or the values, of tokens j0 .. j0 + n of head h.
template <class Source>
void prefetch_tokens_of(const void* erased, Index b, Index h, Index j0, Index n,
                        bool values) noexcept {
  const auto& source = *static_cast<const Source*>(erased);
  for (Index j = 0; j < n;) {
    const auto run = source.run(b, h, j0 + j);
    const Index stop = std::min(n, j + run.count);
    for (Index r = 0; j < stop; ++j, ++r)
      if (values)
        prefetch_row(run.values + r * run.value_step, source.value_dim());
      else
        prefetch_row(run.keys + r * run.key_step, source.key_dim());
  }
}

template <class T, class A, class Source>
RowsOf<T> key_rows_of(const void* erased, Index b, Index h, Index j0, Index n, T* buffer) noexcept {
  const auto& source = *static_cast<const Source*>(erased);
  const Index dim = source.key_dim(), padded = round_up(dim, kWidth<T, A>);
  for (Index j = 0; j < n;) {
    const auto run = source.run(b, h, j0 + j);
    if constexpr (std::is_same_v<decltype(run.keys), const T*>) {
      if (run.count >= n - j && j == 0) return {run.keys, run.key_step};
    }
    const Index stop = std::min(n, j + run.count);
    for (Index r = 0; j < stop; ++j, ++r)
      convert_row<T, A>(run.keys + r * run.key_step, buffer + j * padded, dim, padded);
  }
  return {buffer, padded};
}

template <class T, class A, class Source>
RowsOf<T> value_rows_of(const void* erased, Index b, Index h, Index j0, Index n, bool dense,
                        T* buffer) noexcept {
  const auto& source = *static_cast<const Source*>(erased);
  const Index dim = source.value_dim(), padded = round_up(dim, kWidth<T, A>);
  for (Index j = 0; j < n;) {
    const auto run = source.run(b, h, j0 + j);
    if constexpr (std::is_same_v<decltype(run.values), const T*>) {
      const bool in_place = dim == padded && (!dense || run.value_step == dim);
      if (run.count >= n - j && j == 0 && in_place) return {run.values, run.value_step};
    }
    const Index stop = std::min(n, j + run.count);
    for (Index r = 0; j < stop; ++j, ++r)
      convert_row<T, A>(run.values + r * run.value_step, buffer + j * padded, dim, padded);
  }
  return {buffer, padded};
}

template <class T, class A, KvSource Source>
KvRows<T> erase_kv(const Source& source) noexcept {
  return {&source,
          source.kv_heads(),
          source.key_dim(),
          source.value_dim(),
          [](const void* s, Index b) noexcept { return static_cast<const Source*>(s)->keys(b); },
          &key_rows_of<T, A, Source>,
          &value_rows_of<T, A, Source>,
          &prefetch_tokens_of<Source>};
}

}  // namespace detail
}  // namespace weft
