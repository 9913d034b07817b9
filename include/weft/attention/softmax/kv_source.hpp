#pragma once

#include <weft/core/row_access.hpp>

#include <concepts>
#include <cstdint>

/// Where keys and values come from: a source yields runs of them, in whatever storage; the engine
/// knows neither storage nor layout (kv_rows.hpp).
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

}  // namespace weft
