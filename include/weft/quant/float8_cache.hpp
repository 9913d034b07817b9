#pragma once

#include <weft/quant/kv_stream.hpp>

namespace weft::quant {

class Float8KvCache;

/// Keys and values as E4M3 numbers (FP8 Formats for Deep Learning, arXiv:2209.05433) with a scale
/// per token and head: max |x| / 448. Errors are relative, 3 % at most, down to 3e-5 of the largest
/// channel. A byte per channel and 4 per row; rows are decoded in registers, 16 at a time, for all
/// query heads of their group.
struct Float8Kv {
  using Cache = Float8KvCache;
};

/// A token is seen as its codes as soon as it is here, as in TokenwiseKvCache.
class Float8KvCache {
 public:
  static constexpr bool sees_codes = true;

  Float8KvCache(const Float8Kv&, const CacheSizes& sizes)
      : sizes_(detail::checked_sizes(sizes)),
        keys_(sizes_.batch, sizes_.kv_heads, sizes_.capacity, sizes_.key_dim),
        values_(sizes_.batch, sizes_.kv_heads, sizes_.capacity, sizes_.value_dim) {}

  Index length() const noexcept { return length_; }
  Index capacity() const noexcept { return sizes_.capacity; }
  Index bytes() const noexcept { return keys_.bytes() + values_.bytes(); }
  const Float8Plane& keys() const noexcept { return keys_; }
  const Float8Plane& values() const noexcept { return values_; }

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
    ctx.parallel(sizes_.batch * heads, [&](Index task, Arena&) {
      const Index b = task / heads, h = task % heads;
      keys_.put(b, h, length_, n, k.pointer(b, h), k.stride(2));
      values_.put(b, h, length_, n, v.pointer(b, h), v.stride(2));
    });
    length_ += n;
  }

  CodedKv source() const noexcept {
    CodedKv out = detail::empty_source(sizes_, length_);
    out.key_side.float8 = {&keys_, length_};
    out.value_side.float8 = {&values_, length_};
    return out;
  }

 private:
  CacheSizes sizes_;
  Float8Plane keys_, values_;
  Index length_ = 0;
};
static_assert(CodedCache<Float8KvCache>);

}  // namespace weft::quant
