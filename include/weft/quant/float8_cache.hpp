#pragma once

#include <weft/quant/token_cache.hpp>

namespace weft::quant {

class Float8KvCache;

/// Keys and values as E4M3 numbers (FP8 Formats for Deep Learning, arXiv:2209.05433) with a scale
/// per token and head: max |x| / 448. Errors are relative, 3 % at most, down to 3e-5 of the largest
/// channel. A byte per channel and 4 per row; rows are decoded in registers, 16 at a time, for all
/// query heads of their group.
struct Float8Kv {
  using Cache = Float8KvCache;
};

class Float8KvCache : public detail::TokenCache<Float8Plane, Float8Plane> {
 public:
  Float8KvCache(const Float8Kv&, const CacheSizes& sizes)
      : Float8KvCache(detail::checked_sizes(sizes)) {}

  void append(const View<const float, 4>& k, const View<const float, 4>& v,
              const Context& ctx = Context()) {
    append_by(k, v, ctx, [&](Index b, Index h, Index n, Arena&) {
      keys_.put(b, h, length_, n, k.pointer(b, h), k.stride(2));
    });
  }

  CodedKv source() const noexcept {
    CodedKv out = detail::empty_source(sizes_, length_);
    out.key_side.float8 = {&keys_, length_};
    out.value_side.float8 = {&values_, length_};
    return out;
  }

 private:
  explicit Float8KvCache(const CacheSizes& sizes)
      : TokenCache(sizes, Float8Plane(sizes.batch, sizes.kv_heads, sizes.capacity, sizes.key_dim),
                   Float8Plane(sizes.batch, sizes.kv_heads, sizes.capacity, sizes.value_dim)) {}
};
static_assert(CodedCache<Float8KvCache>);

}  // namespace weft::quant
