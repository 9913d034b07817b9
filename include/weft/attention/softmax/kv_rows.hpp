#pragma once

#include <weft/attention/softmax/row_products.hpp>
#include <weft/core/row_access.hpp>

#include <cstdlib>

/// A KvSource as the engine sees it: tiles of rows in the engine's own element type, and products
/// with few query rows. The type is erased, so that the engine is compiled once per policy set and
/// not once per pair of storage types.
namespace weft::detail {

/// Rows of the engine's element type: row j at `at + j * step`.
template <class T>
struct RowsOf {
  const T* at;
  Index step;
};

/// The two products of a tile with few query rows: those of a KvTileSource, or RowProducts.
/// `values_finite`: whether a weight of zero keeps all values of a tile out; null where it always
/// does.
template <class T>
struct KvProducts {
  Index (*scratch_size)(const void* source, Index rows) noexcept;
  void (*begin)(const void* source, const T* q, Index q_ld, Index rows, T* scratch) noexcept;
  void (*logits)(const void* source, const KvTile& tile, const T* q, Index q_ld, T* scratch, T* s,
                 Index s_ld) noexcept;
  void (*add_values)(const void* source, const KvTile& tile, const T* p, Index p_ld, T* scratch,
                     T* acc, Index acc_ld) noexcept;
  bool (*values_finite)(const void* source, const KvTile& tile) noexcept;
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
  bool (*heads_adjoin)(const void* source, Index b) noexcept;  ///< see heads_adjoin_of
  const KvProducts<T>* products;
};

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

template <class T, class A, class Source>
inline constexpr KvProducts<T> kRowProductsOf{
    &RowProducts<T, A, Source>::scratch_size, &RowProducts<T, A, Source>::begin,
    &RowProducts<T, A, Source>::logits, &RowProducts<T, A, Source>::add_values,
    &RowProducts<T, A, Source>::values_finite};

template <class T, class A, KvRunSource Source>
KvRows<T> erase_kv(const Source& source) noexcept {
  return {&source,
          source.kv_heads(),
          source.key_dim(),
          source.value_dim(),
          [](const void* s, Index b) noexcept { return static_cast<const Source*>(s)->keys(b); },
          &key_rows_of<T, A, Source>,
          &value_rows_of<T, A, Source>,
          &heads_adjoin_of<Source>,
          &kRowProductsOf<T, A, Source>};
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
    },
    nullptr};

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
          [](const void*, Index) noexcept { return false; },
          &kProductsOf<A, Source>};
}

}  // namespace weft::detail
