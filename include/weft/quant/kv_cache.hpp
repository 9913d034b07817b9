#pragma once

#include <weft/quant/kv_stream.hpp>

namespace weft::quant {

class TokenwiseKvCache;

/// Keys and values quantized token by token: each token of each head has a scale (and a least
/// number if affine) for its key and one for its value. D / 8 bits + 4 or 8 bytes per token, head
/// and side.
struct TokenwiseKv {
  using Cache = TokenwiseKvCache;
  KvFormat keys;
  KvFormat values;
  /// Keys and queries times the Hadamard matrix of the head (hadamard.hpp; QuaRot,
  /// arXiv:2404.00456): logits are the same, outliers of single channels are spread over all.
  bool rotate_keys = false;
};

/// Errors of about 0.3 % of the largest channel of each token.
inline constexpr TokenwiseKv kInt8Kv{{8, true}, {8, true}};
/// Affine, because 15 codes are few; kivi.hpp loses less at 4 and 2 bits.
inline constexpr TokenwiseKv kInt4Kv{{4, false}, {4, false}};

/// A token is quantized when it arrives, and seen as its codes from then on, by its own query too:
/// prefill in any split and step see the same numbers. `truncate` rolls back.
class TokenwiseKvCache {
 public:
  static constexpr bool sees_codes = true;

  TokenwiseKvCache(const TokenwiseKv& formats, const CacheSizes& sizes)
      : sizes_(checked(formats, sizes)),
        rotate_keys_(formats.rotate_keys),
        keys_({sizes_.batch, sizes_.kv_heads, sizes_.capacity, sizes_.key_dim}, formats.keys, 0),
        values_({sizes_.batch, sizes_.kv_heads, sizes_.capacity, sizes_.value_dim}, formats.values,
                0) {}

  Index length() const noexcept { return length_; }
  Index capacity() const noexcept { return sizes_.capacity; }
  Index bytes() const noexcept { return keys_.bytes() + values_.bytes(); }
  const KeyPlane& keys() const noexcept { return keys_; }
  const ValuePlane& values() const noexcept { return values_; }

  /// Forgets all tokens from `length` on.
  void truncate(Index length) {
    require(length >= 0 && length <= length_, "truncate to ", length, " tokens, the cache has ",
            length_);
    length_ = length;
  }

  void check(const View<const float, 4>& k, const View<const float, 4>& v) const {
    detail::check_tokens(sizes_, length_, k, v);
  }

  void append(const View<const float, 4>& k, const View<const float, 4>& v,
              const Context& ctx = Context()) {
    check(k, v);
    const Index n = k.extent(2), heads = sizes_.kv_heads;
    ctx.parallel(sizes_.batch * heads, [&](Index task, Arena& arena) {
      const Index b = task / heads, h = task % heads;
      if (rotate_keys_)
        put_rotated(b, h, k, arena.take<float>(sizes_.key_dim));
      else
        keys_.put(b, h, length_, n, k.pointer(b, h), k.stride(2));
      values_.put(b, h, length_, n, v.pointer(b, h), v.stride(2));
    });
    length_ += n;
  }

  CodedKv source() const noexcept {
    CodedKv out = detail::empty_source(sizes_, length_);
    out.key_side.planes[0] = {&keys_, length_};
    out.value_side.planes[0] = {&values_, length_};
    out.rotated_keys = rotate_keys_;
    return out;
  }

 private:
  static CacheSizes checked(const TokenwiseKv& formats, const CacheSizes& sizes) {
    check_format(formats.keys, "keys");
    check_format(formats.values, "values");
    return detail::checked_sizes(sizes);
  }

  void put_rotated(Index b, Index h, const View<const float, 4>& k, float* row) noexcept {
    for (Index i = 0; i < k.extent(2); ++i) {
      std::copy_n(k.pointer(b, h, i), sizes_.key_dim, row);
      rotate_row<DefaultArch>(row, sizes_.key_dim);
      keys_.put(b, h, length_ + i, 1, row, sizes_.key_dim);
    }
  }

  CacheSizes sizes_;
  bool rotate_keys_;
  KeyPlane keys_;
  ValuePlane values_;
  Index length_ = 0;
};
static_assert(CodedCache<TokenwiseKvCache>);

}  // namespace weft::quant
