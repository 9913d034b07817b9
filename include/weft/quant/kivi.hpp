#pragma once

#include <weft/quant/kept_rows.hpp>
#include <weft/quant/kv_stream.hpp>

/// KIVI: keys per channel, values per token (KIVI: A Tuning-Free Asymmetric 2bit Quantization for
/// KV Cache, arXiv:2402.02750).
///
///   keys     G consecutive tokens of one channel share a grid: outliers of keys keep to channels
///   values   G consecutive channels of one token share a grid
///   grid     low = min, scale = (max - min) / (2^b - 1), code = rint((x - low) / scale)
///
/// Of N tokens the newest stay floats: N mod R keys, min(N, R) values. New tokens are seen as
/// floats by the queries that come with them, and what is to be quantized is so afterwards; what
/// the cache holds depends on N alone, but rows of a prefill see its own tokens in full precision,
/// those of steps see what older tokens became.
///
/// Memory per token and head: D bits / 8 + 8 D / G bytes for keys and as much for values, and R
/// rows of floats of each. Attention with few queries rescales the query once per group of tokens;
/// groups that do not fill a register (G of fewer tokens, or channels, than it has lanes) are
/// decoded instead, which is slower.
namespace weft::quant {

class KiviCache;

struct Kivi {
  using Cache = KiviCache;
  int key_bits = 2;     ///< 2, 4 or 8
  int value_bits = 2;   ///< 2, 4 or 8
  Index group = 32;     ///< G; divides R and the channels of values
  Index residual = 32;  ///< R, at least 1
};

class KiviCache {
 public:
  static constexpr bool sees_codes = false;

  KiviCache(const Kivi& options, const CacheSizes& sizes)
      : sizes_(checked(options, sizes)),
        residual_(options.residual),
        keys_({sizes_.batch, sizes_.kv_heads, sizes_.capacity, sizes_.key_dim},
              {options.key_bits, false}, options.group),
        values_({sizes_.batch, sizes_.kv_heads, sizes_.capacity, sizes_.value_dim},
                {options.value_bits, false}, options.group),
        kept_keys_(sizes_.batch, sizes_.kv_heads, residual_, sizes_.key_dim),
        kept_values_(sizes_.batch, sizes_.kv_heads, residual_ + 1, sizes_.value_dim) {}

  Index length() const noexcept { return coded_keys_ + kept_keys_.count(); }
  Index capacity() const noexcept { return sizes_.capacity; }
  Index bytes() const noexcept {
    return keys_.bytes() + values_.bytes() + kept_keys_.bytes() + kept_values_.bytes();
  }
  const KeyPlane& keys() const noexcept { return keys_; }
  const ValuePlane& values() const noexcept { return values_; }
  Index coded_keys() const noexcept { return coded_keys_; }
  Index coded_values() const noexcept { return coded_values_; }

  void check(const View<const float, 4>& k, const View<const float, 4>& v) const {
    detail::check_tokens(sizes_, length(), k, v);
  }

  void append(const View<const float, 4>& k, const View<const float, 4>& v,
              const Context& ctx = Context()) {
    check(k, v);
    const Index n = k.extent(2);
    for (Index i = 0; i < n;) {
      const Index some = std::min(n - i, residual_ - kept_keys_.count());
      kept_keys_.push(k, i, some);
      i += some;
      if (kept_keys_.count() == residual_) flush_keys(ctx);
    }
    for (Index i = 0; i < n;) {
      const Index some = std::min(n - i, residual_ + 1 - kept_values_.count());
      kept_values_.push(v, i, some);
      i += some;
      if (kept_values_.count() > residual_) flush_value(ctx);
    }
  }

  CodedKv source() const {
    CodedKv out = detail::empty_source(sizes_, length());
    out.key_side.planes[0] = {&keys_, coded_keys_};
    out.value_side.planes[0] = {&values_, coded_values_};
    out.key_side.kept = kept_keys_.view();
    out.value_side.kept = kept_values_.view();
    return out;
  }

 private:
  static CacheSizes checked(const Kivi& o, const CacheSizes& sizes) {
    const CacheSizes all = detail::checked_sizes(sizes);
    check_format({o.key_bits, false}, "Kivi: keys");
    check_format({o.value_bits, false}, "Kivi: values");
    require(o.group >= 1 && o.residual >= 1 && o.residual % o.group == 0,
            "Kivi: the residual length ", o.residual, " must be a multiple of the group size ",
            o.group);
    require(all.value_dim % o.group == 0, "Kivi: values have ", all.value_dim,
            " channels, which groups of ", o.group, " do not divide");
    return all;
  }

  template <class F>
  void for_each_head(const Context& ctx, const F& f) const {
    const Index heads = sizes_.kv_heads;
    ctx.parallel(sizes_.batch * heads, [&](Index task, Arena&) { f(task / heads, task % heads); });
  }

  void flush_keys(const Context& ctx) {
    const auto rows = kept_keys_.view();
    for_each_head(ctx, [&](Index b, Index h) {
      keys_.put(b, h, coded_keys_, residual_, rows.pointer(b, h), rows.stride(2));
    });
    coded_keys_ += residual_;
    kept_keys_.pop(residual_);
  }

  void flush_value(const Context& ctx) {
    const auto rows = kept_values_.view();
    for_each_head(ctx, [&](Index b, Index h) {
      values_.put(b, h, coded_values_, 1, rows.pointer(b, h), rows.stride(2));
    });
    ++coded_values_;
    kept_values_.pop(1);
  }

  CacheSizes sizes_;
  Index residual_;
  KeyPlane keys_;
  ValuePlane values_;
  KeptRows kept_keys_, kept_values_;
  Index coded_keys_ = 0, coded_values_ = 0;
};
static_assert(CodedCache<KiviCache>);

}  // namespace weft::quant
