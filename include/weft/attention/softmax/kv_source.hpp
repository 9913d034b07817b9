#pragma once

#include <weft/core/row_access.hpp>

#include <concepts>
#include <cstdint>
#include <cstdlib>

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

/// What all sources have:
///   Index keys(b)        number of tokens of batch element b
///   Index kv_heads(), key_dim(), value_dim()
template <class S>
concept KvSizes = requires(const S& s, Index i) {
  { s.keys(i) } noexcept -> std::same_as<Index>;
  { s.kv_heads() } noexcept -> std::same_as<Index>;
  { s.key_dim() } noexcept -> std::same_as<Index>;
  { s.value_dim() } noexcept -> std::same_as<Index>;
};

/// A source whose tokens lie in memory as rows:
///   run(b, h, j)         the longest run that starts at token j < keys(b) of KV head h
template <class S>
concept KvRunSource = KvSizes<S> && requires(const S& s, Index i) {
  { s.run(i, i, i).count } -> std::convertible_to<Index>;
};

/// A source that keeps its tokens in a form of its own, as a quantized cache does. It writes them
/// out as rows of floats, `ld` apart and zero behind their channels, for calls of many queries; and
/// does the two products of a tile itself for few of them:
///
///   read_keys<A>(b, h, j0, n, to, ld), read_values<A>(...)      tokens j0 .. j0 + n of KV head h
///   scratch_size(rows)                                   floats of memory that the products want
///   begin<A>(q, q_ld, rows, scratch)                     once, before the products with `rows`
///   rows logits<A>(tile, q, q_ld, scratch, s, s_ld)           s[r, c] = q_r . k_(j0 + c)
///   add_values<A>(tile, p, p_ld, scratch, acc, acc_ld)   acc[r, :] += sum_c p[r, c] v_(j0 + c)
///
/// Rows of s may be written up to a vector beyond their n columns; p is zero up to whole vectors,
/// and a weight of zero keeps out what is not finite.
struct KvTile {
  Index batch, head, first, count;  ///< tokens [first, first + count) of a KV head
  Index rows;                       ///< query rows
};

/// Tokens of a tile of such a source.
inline constexpr Index kKvTile = 256;

template <class S>
concept KvTileSource =
    KvSizes<S> && requires(const S& s, Index i, const KvTile& tile, const float* in, float* out) {
      { s.scratch_size(i) } noexcept -> std::same_as<Index>;
      s.template read_keys<DefaultArch>(i, i, i, i, out, i);
      s.template read_values<DefaultArch>(i, i, i, i, out, i);
      s.template begin<DefaultArch>(in, i, i, out);
      s.template logits<DefaultArch>(tile, in, i, out, out, i);
      s.template add_values<DefaultArch>(tile, in, i, out, out, i);
    };

template <class S>
concept KvSource = KvRunSource<S> || KvTileSource<S>;

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

/// The products of a KvTileSource.
template <class T>
struct KvProducts {
  Index (*scratch_size)(const void* source, Index rows) noexcept;
  void (*begin)(const void* source, const T* q, Index q_ld, Index rows, T* scratch) noexcept;
  void (*logits)(const void* source, const KvTile& tile, const T* q, Index q_ld, T* scratch, T* s,
                 Index s_ld) noexcept;
  void (*add_values)(const void* source, const KvTile& tile, const T* p, Index p_ld, T* scratch,
                     T* acc, Index acc_ld) noexcept;
};

/// A KvSource with its type erased, seen through rows of T.
///
/// `key_rows` and `value_rows` give tokens j0 .. j0 + n of head h: in place where the storage is T
/// and one run holds them all, otherwise converted into `buffer` (n rows of round_up(dim, width)).
/// Value rows are readable, and zero or meaningless but finite, up to a multiple of the vector.
/// `products` is null unless the source has its own.
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
  bool (*heads_adjoin)(const void* source, Index b) noexcept;  ///< see heads_adjoin_of
  const KvProducts<T>* products = nullptr;
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

/// Whether the heads of a token lie side by side in memory, and the tokens of a head apart: then
/// memory is best read token by token.
template <class Source>
bool heads_adjoin_of(const void* erased, Index b) noexcept {
  const auto& source = *static_cast<const Source*>(erased);
  if (source.kv_heads() < 2 || source.keys(b) == 0) return false;
  const auto first = source.run(b, 0, 0), second = source.run(b, 1, 0);
  return std::abs(second.keys - first.keys) < std::abs(first.key_step);
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

template <class T, class A, KvRunSource Source>
KvRows<T> erase_kv(const Source& source) noexcept {
  return {&source,
          source.kv_heads(),
          source.key_dim(),
          source.value_dim(),
          [](const void* s, Index b) noexcept { return static_cast<const Source*>(s)->keys(b); },
          &key_rows_of<T, A, Source>,
          &value_rows_of<T, A, Source>,
          &prefetch_tokens_of<Source>,
          &heads_adjoin_of<Source>};
}

template <class A, class Source>
inline constexpr KvProducts<float> kProductsOf{
    [](const void* s, Index rows) noexcept {
      return static_cast<const Source*>(s)->scratch_size(rows);
    },
    [](const void* s, const float* q, Index q_ld, Index rows, float* scratch) noexcept {
      static_cast<const Source*>(s)->template begin<A>(q, q_ld, rows, scratch);
    },
    [](const void* s, const KvTile& tile, const float* q, Index q_ld, float* scratch, float* logits,
       Index ld) noexcept {
      static_cast<const Source*>(s)->template logits<A>(tile, q, q_ld, scratch, logits, ld);
    },
    [](const void* s, const KvTile& tile, const float* p, Index p_ld, float* scratch, float* acc,
       Index ld) noexcept {
      static_cast<const Source*>(s)->template add_values<A>(tile, p, p_ld, scratch, acc, ld);
    }};

template <class T, class A, KvTileSource Source>
KvRows<T> erase_kv(const Source& source) noexcept {
  static_assert(std::is_same_v<T, float>,
                "a source of tiles is for fp32, bf16 and fp16 queries, not for fp64");
  return {&source,
          source.kv_heads(),
          source.key_dim(),
          source.value_dim(),
          [](const void* s, Index b) noexcept { return static_cast<const Source*>(s)->keys(b); },
          [](const void* s, Index b, Index h, Index j0, Index n, T* to) noexcept {
            const auto& from = *static_cast<const Source*>(s);
            const Index ld = round_up(from.key_dim(), kWidth<T, A>);
            from.template read_keys<A>(b, h, j0, n, to, ld);
            return RowsOf<T>{to, ld};
          },
          [](const void* s, Index b, Index h, Index j0, Index n, bool, T* to) noexcept {
            const auto& from = *static_cast<const Source*>(s);
            const Index ld = round_up(from.value_dim(), kWidth<T, A>);
            from.template read_values<A>(b, h, j0, n, to, ld);
            return RowsOf<T>{to, ld};
          },
          [](const void*, Index, Index, Index, Index, bool) noexcept {},
          [](const void*, Index) noexcept { return false; },
          &kProductsOf<A, Source>};
}

}  // namespace detail
}  // namespace weft
