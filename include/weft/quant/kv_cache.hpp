#pragma once

#include <weft/quant/token_cache.hpp>

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

class TokenwiseKvCache : public detail::TokenCache<KeyPlane, ValuePlane> {
 public:
  TokenwiseKvCache(const TokenwiseKv& formats, const CacheSizes& sizes)
      : TokenwiseKvCache(checked(formats, sizes), formats) {}

  void append(const View<const float, 4>& k, const View<const float, 4>& v,
              const Context& ctx = Context()) {
    append_by(k, v, ctx, [&](Index b, Index h, Index n, Arena& arena) {
      if (rotate_keys_)
        put_rotated(b, h, k, arena.take<float>(sizes_.key_dim));
      else
        keys_.put(b, h, length_, n, k.pointer(b, h), k.stride(2));
    });
  }

  CodedKv source() const noexcept {
    CodedKv out = detail::empty_source(sizes_, length_);
    out.key_side.planes[0] = {&keys_, length_};
    out.value_side.planes[0] = {&values_, length_};
    out.rotated_keys = rotate_keys_;
    return out;
  }

 private:
  TokenwiseKvCache(const CacheSizes& sizes, const TokenwiseKv& formats)
      : TokenCache(
            sizes,
            KeyPlane({sizes.batch, sizes.kv_heads, sizes.capacity, sizes.key_dim}, formats.keys, 0),
            ValuePlane({sizes.batch, sizes.kv_heads, sizes.capacity, sizes.value_dim},
                       formats.values, 0)),
        rotate_keys_(formats.rotate_keys) {}

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

  bool rotate_keys_;
};
static_assert(CodedCache<TokenwiseKvCache>);

}  // namespace weft::quant
