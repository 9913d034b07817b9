#pragma once

#include <weft/core/tensor.hpp>

#include <algorithm>

namespace weft {

/// Sizes of a key/value cache.
struct CacheSizes {
  Index batch = 1;
  Index kv_heads = 1;
  Index capacity = 0;   ///< tokens
  Index key_dim = 0;    ///< D
  Index value_dim = 0;  ///< E; 0 means D
};

/// Contiguous key/value cache: k [B, Hk, capacity, D] and v [B, Hk, capacity, E], of which the
/// first `length()` tokens are valid, the same number for every batch element. T is the storage
/// type: fp32, bf16, fp16 or fp64.
///
/// The cache owns its memory. Rolling back is `truncate`; saving and restoring are copies of
/// `keys()` and `values()`. Appending beyond the capacity throws and changes nothing.
template <class T>
class KvCache {
 public:
  using value_type = T;

  explicit KvCache(const CacheSizes& sizes)
      : k_(checked(sizes, sizes.key_dim)),
        v_(checked(sizes, sizes.value_dim == 0 ? sizes.key_dim : sizes.value_dim)) {}

  Index length() const noexcept { return length_; }
  Index capacity() const noexcept { return k_.extent(2); }
  Index bytes() const noexcept { return (k_.size() + v_.size()) * static_cast<Index>(sizeof(T)); }

  /// The valid tokens, [B, Hk, length, D] and [B, Hk, length, E].
  View<const T, 4> keys() const { return k_.view().slice(2, 0, length_); }
  View<const T, 4> values() const { return v_.view().slice(2, 0, length_); }

  /// Forgets all tokens from `length` on.
  void truncate(Index length) {
    require(length >= 0 && length <= length_, "truncate to ", length, " tokens, the cache has ",
            length_);
    length_ = length;
  }

  /// Appends n tokens, k [B, Hk, n, D] and v [B, Hk, n, E], converted to T.
  template <class K, class V>
  void append(View<const K, 4> k, View<const V, 4> v) {
    check(k, k_, "k");
    check(v, v_, "v");
    require(k.extent(2) == v.extent(2), "k brings ", k.extent(2), " tokens, v ", v.extent(2));
    const Index n = k.extent(2);
    require(length_ + n <= capacity(), "the cache holds ", length_, " of ", capacity(),
            " tokens; there is no room for ", n, " more");
    copy(k, k_);
    copy(v, v_);
    length_ += n;
  }

 private:
  static typename Tensor<T, 4>::Extents checked(const CacheSizes& s, Index dim) {
    require(s.batch >= 1 && s.kv_heads >= 1 && s.capacity >= 0 && dim >= 1,
            "CacheSizes: batch, kv_heads and head sizes must be positive, capacity not negative");
    return {s.batch, s.kv_heads, s.capacity, dim};
  }

  template <class X>
  static void check(const View<const X, 4>& x, const Tensor<T, 4>& own, const char* name) {
    for (std::size_t axis : {0u, 1u, 3u})
      require(x.extent(axis) == own.extent(axis), name, " ", x, " does not fit the cache ",
              own.view());
    require(x.stride(3) == 1 || x.extent(3) == 1, name, " must have contiguous channels");
  }

  template <class X>
  void copy(const View<const X, 4>& from, Tensor<T, 4>& to) const noexcept {
    for (Index b = 0; b < from.extent(0); ++b)
      for (Index h = 0; h < from.extent(1); ++h)
        for (Index j = 0; j < from.extent(2); ++j)
          convert(from.pointer(b, h, j), from.extent(3), to.view().pointer(b, h, length_ + j));
  }

  template <class X>
  static void convert(const X* from, Index n, T* to) noexcept {
    if constexpr (std::is_same_v<X, T>)
      std::copy_n(from, n, to);
    else
      std::transform(from, from + n, to, [](X x) { return T(static_cast<float>(x)); });
  }

  Tensor<T, 4> k_;
  Tensor<T, 4> v_;
  Index length_ = 0;
};

}  // namespace weft
