#pragma once

#include <weft/attention/softmax/kv_source.hpp>

#include <algorithm>

namespace weft {

/// Paged key/value cache (PagedAttention, arXiv:2309.06180): a pool of blocks of `block_size`
/// tokens and, per sequence, a table of the blocks it owns.
///
///   keys [blocks, block_size, Hk, D], values [blocks, block_size, Hk, E]
///   table [B, max_blocks]: token j of sequence b is slot j % block_size of block table(b, j /
///   block_size) lengths [B]: valid tokens of each sequence
///
/// All four are views of the caller's memory; who owns which block is the caller's business, and
/// sequences may share blocks that they only read. Table entries beyond a sequence's length are
/// never looked at. `forward(mixer, q, paged, out, ctx)` attends with the queries as the last N
/// tokens. The constructor checks shapes, lengths and every block number that is in use; call
/// `check()` again after changing the table.
template <class K, class V = K>
class PagedKv {
 public:
  PagedKv(View<K, 4> key_blocks, View<V, 4> value_blocks, View<const std::int32_t, 2> table,
          View<std::int32_t, 1> lengths)
      : k_(key_blocks), v_(value_blocks), table_(table), lengths_(lengths) {
    check();
  }

  /// Throws unless the views fit each other and every block in use exists.
  void check() const {
    for (std::size_t axis : {0u, 1u, 2u})
      require(k_.extent(axis) == v_.extent(axis), "key blocks ", k_, " and value blocks ", v_,
              " must agree in blocks, block size and heads");
    require(block_size() >= 1, "blocks must hold at least one token");
    require(k_.stride(3) == 1 && v_.stride(3) == 1, "channels of the blocks must be contiguous");
    require(table_.extent(0) == lengths_.extent(0), "the block table has ", table_.extent(0),
            " sequences, lengths has ", lengths_.extent(0));
    for (Index b = 0; b < lengths_.extent(0); ++b) check_sequence(b, lengths_(b));
  }

  Index block_size() const noexcept { return k_.extent(1); }

  /// Appends n tokens to every sequence: k [B, Hk, n, D], v [B, Hk, n, E]. The table must already
  /// name the blocks they go to. Throws before anything is written.
  void append(View<const std::remove_const_t<K>, 4> k, View<const std::remove_const_t<V>, 4> v) {
    const Index n = k.extent(2);
    require(
        k.extent(0) == lengths_.extent(0) && k.extent(1) == kv_heads() && k.extent(3) == key_dim(),
        "k ", k, " does not fit the pages ", k_);
    require(v.extent(0) == k.extent(0) && v.extent(1) == kv_heads() && v.extent(2) == n &&
                v.extent(3) == value_dim(),
            "v ", v, " does not fit the pages ", v_);
    for (Index b = 0; b < k.extent(0); ++b) check_sequence(b, lengths_(b) + n);
    for (Index b = 0; b < k.extent(0); ++b) append_sequence(k, v, b, n);
  }

  // KvSource.
  Index keys(Index b) const noexcept { return lengths_(b); }
  Index sequences() const noexcept { return lengths_.extent(0); }
  Index kv_heads() const noexcept { return k_.extent(2); }
  Index key_dim() const noexcept { return k_.extent(3); }
  Index value_dim() const noexcept { return v_.extent(3); }
  KvRun<std::remove_const_t<K>, std::remove_const_t<V>> run(Index b, Index h,
                                                            Index j) const noexcept {
    const Index block = table_(b, j / block_size()), slot = j % block_size();
    return {k_.pointer(block, slot, h), k_.stride(1), v_.pointer(block, slot, h), v_.stride(1),
            std::min(block_size() - slot, keys(b) - j)};
  }

 private:
  void check_sequence(Index b, Index length) const {
    require(length >= 0 && length <= table_.extent(1) * block_size(), "sequence ", b, " has ",
            length, " tokens, its table has room for ", table_.extent(1) * block_size());
    for (Index i = 0; i < ceil_div(length, block_size()); ++i)
      require(table_(b, i) >= 0 && table_(b, i) < k_.extent(0), "entry ", i, " of sequence ", b,
              " names block ", table_(b, i), ", there are ", k_.extent(0));
  }

  void append_sequence(const View<const std::remove_const_t<K>, 4>& k,
                       const View<const std::remove_const_t<V>, 4>& v, Index b, Index n) noexcept {
    for (Index t = 0; t < n; ++t) {
      const Index j = lengths_(b) + t;
      const Index block = table_(b, j / block_size()), slot = j % block_size();
      for (Index h = 0; h < kv_heads(); ++h) {
        for (Index d = 0; d < key_dim(); ++d) k_(block, slot, h, d) = k(b, h, t, d);
        for (Index e = 0; e < value_dim(); ++e) v_(block, slot, h, e) = v(b, h, t, e);
      }
    }
    lengths_(b) = static_cast<std::int32_t>(lengths_(b) + n);
  }

  View<K, 4> k_;
  View<V, 4> v_;
  View<const std::int32_t, 2> table_;
  View<std::int32_t, 1> lengths_;
};

}  // namespace weft
