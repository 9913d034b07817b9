#pragma once

#include <weft/quant/kv_stream.hpp>

namespace weft::quant::detail {

/// A cache whose tokens become codes when they arrive, and are seen as these from then on, by their
/// own query too: prefill in any split and step see the same numbers. `truncate` rolls back.
///
/// Keys and Values are planes of codes with put(b, h, first, n, rows, stride) and bytes().
template <class Keys, class Values>
class TokenCache {
 public:
  static constexpr bool sees_codes = true;

  Index length() const noexcept { return length_; }
  Index capacity() const noexcept { return sizes_.capacity; }
  Index bytes() const noexcept { return keys_.bytes() + values_.bytes(); }
  const Keys& keys() const noexcept { return keys_; }
  const Values& values() const noexcept { return values_; }

  /// Forgets all tokens from `length` on.
  void truncate(Index length) {
    require(length >= 0 && length <= length_, "truncate to ", length, " tokens, the cache has ",
            length_);
    length_ = length;
  }

  void check(const View<const float, 4>& k, const View<const float, 4>& v) const {
    check_tokens(sizes_, length_, k, v);
  }

 protected:
  TokenCache(const CacheSizes& sizes, Keys keys, Values values)
      : sizes_(sizes), keys_(std::move(keys)), values_(std::move(values)) {}

  /// Appends tokens; put_keys(b, h, n, arena) is how keys become codes.
  template <class PutKeys>
  void append_by(const View<const float, 4>& k, const View<const float, 4>& v, const Context& ctx,
                 const PutKeys& put_keys) {
    check(k, v);
    const Index n = k.extent(2), heads = sizes_.kv_heads;
    ctx.parallel(sizes_.batch * heads, [&](Index task, Arena& arena) {
      const Index b = task / heads, h = task % heads;
      put_keys(b, h, n, arena);
      values_.put(b, h, length_, n, v.pointer(b, h), v.stride(2));
    });
    length_ += n;
  }

  CacheSizes sizes_;
  Keys keys_;
  Values values_;
  Index length_ = 0;
};

}  // namespace weft::quant::detail
