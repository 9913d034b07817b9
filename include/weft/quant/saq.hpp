#pragma once

#include <weft/quant/kept_rows.hpp>
#include <weft/quant/kv_stream.hpp>

#include <vector>

/// Staircase adaptive quantization: the older a token, the fewer bits it has ("The Nature of
/// Mathematical Modeling and Probabilistic Optimization Engineering in Generative AI",
/// arXiv:2410.18441; built on KIVI).
///
///   levels   B_1 > B_2 > ... > B_n bits; B_1 is full precision and only the newest tokens have it
///   chunks   of S tokens. When S floats have come together they become a chunk of B_2 bits, the
///            chunk that was there goes down to B_3 bits, and so on; at B_n chunks pile up
///   step     b bits to c: code' = rint(code (2^c - 1) / (2^b - 1)), same low, and a scale
///            (2^b - 1) / (2^c - 1) times as large. The least and the largest number of a group
///            have codes 0 and 2^b - 1, so this is what quantizing the decoded numbers would give
///
/// Grids as in kivi.hpp: G tokens of one channel for keys, G channels of one token for values (the
/// paper describes keys; values go the same stairs here). With two levels the keys are those of
/// KIVI with R = S. Tokens of a call are seen as floats by its own queries; what the cache holds
/// depends on the number of tokens alone.
///
/// Each token is requantized at most n - 2 times, O(D) each.
namespace weft::quant {

class SaqCache;

struct Saq {
  using Cache = SaqCache;
  Index group = 32;                   ///< G; divides S and the channels of values
  Index chunk = 128;                  ///< S
  std::vector<int> bits = {8, 4, 2};  ///< B_2, ..., B_n: falling, of 8, 4 and 2
};

class SaqCache {
 public:
  static constexpr bool sees_codes = false;

  SaqCache(const Saq& options, const CacheSizes& sizes)
      : sizes_(checked(options, sizes)),
        chunk_(options.chunk),
        kept_keys_(sizes_.batch, sizes_.kv_heads, chunk_, sizes_.key_dim),
        kept_values_(sizes_.batch, sizes_.kv_heads, chunk_, sizes_.value_dim) {
    for (std::size_t i = 0; i < options.bits.size(); ++i) {
      const bool last = i + 1 == options.bits.size();
      const Index tokens = last ? round_up(sizes_.capacity, chunk_) : chunk_;
      const KvFormat format{options.bits[i], false};
      stairs_.push_back(
          {KeyPlane({sizes_.batch, sizes_.kv_heads, tokens, sizes_.key_dim}, format, options.group),
           ValuePlane({sizes_.batch, sizes_.kv_heads, tokens, sizes_.value_dim}, format,
                      options.group),
           0});
    }
  }

  /// The tokens of one number of bits, B_2 first.
  struct Stair {
    KeyPlane keys;
    ValuePlane values;
    Index count;
  };
  const std::vector<Stair>& stairs() const noexcept { return stairs_; }

  Index length() const noexcept {
    Index tokens = kept_keys_.count();
    for (const Stair& stair : stairs_) tokens += stair.count;
    return tokens;
  }
  Index capacity() const noexcept { return sizes_.capacity; }
  Index bytes() const noexcept {
    Index sum = kept_keys_.bytes() + kept_values_.bytes();
    for (const Stair& stair : stairs_) sum += stair.keys.bytes() + stair.values.bytes();
    return sum;
  }

  void check(const View<const float, 4>& k, const View<const float, 4>& v) const {
    detail::check_tokens(sizes_, length(), k, v);
  }

  void append(const View<const float, 4>& k, const View<const float, 4>& v,
              const Context& ctx = Context()) {
    check(k, v);
    for (Index i = 0; i < k.extent(2);) {
      const Index some = std::min(k.extent(2) - i, chunk_ - kept_keys_.count());
      kept_keys_.push(k, i, some);
      kept_values_.push(v, i, some);
      i += some;
      if (kept_keys_.count() == chunk_) descend(ctx);
    }
  }

  CodedKv source() const {
    CodedKv out = detail::empty_source(sizes_, length());
    for (std::size_t i = 0; i < stairs_.size(); ++i) {  // the oldest are at the bottom
      const Stair& stair = stairs_[stairs_.size() - 1 - i];
      out.key_side.planes[i] = {&stair.keys, stair.count};
      out.value_side.planes[i] = {&stair.values, stair.count};
    }
    out.key_side.kept = kept_keys_.view();
    out.value_side.kept = kept_values_.view();
    return out;
  }

 private:
  static CacheSizes checked(const Saq& o, const CacheSizes& sizes) {
    const CacheSizes all = detail::checked_sizes(sizes);
    require(!o.bits.empty(), "Saq: there must be a level below full precision");
    for (int bits : o.bits) check_format({bits, false}, "Saq: a level");
    for (std::size_t i = 1; i < o.bits.size(); ++i)
      require(o.bits[i] < o.bits[i - 1], "Saq: levels must fall, but ", o.bits[i], " bits follow ",
              o.bits[i - 1]);
    require(o.group >= 1 && o.chunk >= 1 && o.chunk % o.group == 0, "Saq: the chunk of ", o.chunk,
            " tokens must be a multiple of the group size ", o.group);
    require(all.value_dim % o.group == 0, "Saq: values have ", all.value_dim,
            " channels, which groups of ", o.group, " do not divide");
    return all;
  }

  /// Every chunk goes down a stair, the last one first, and the floats become the newest chunk.
  void descend(const Context& ctx) {
    const auto k = kept_keys_.view(), v = kept_values_.view();
    const Index heads = sizes_.kv_heads;
    ctx.parallel(sizes_.batch * heads, [&](Index task, Arena&) {
      const Index b = task / heads, h = task % heads;
      for (std::size_t i = stairs_.size() - 1; i > 0; --i) requantize(i, b, h);
      const Index at = stairs_.size() == 1 ? stairs_[0].count : 0;
      stairs_[0].keys.put(b, h, at, chunk_, k.pointer(b, h), k.stride(2));
      stairs_[0].values.put(b, h, at, chunk_, v.pointer(b, h), v.stride(2));
    });
    Index arriving = chunk_;
    for (std::size_t i = 0; i + 1 < stairs_.size(); ++i)
      arriving = std::exchange(stairs_[i].count, arriving);
    stairs_.back().count += arriving;
    kept_keys_.pop(chunk_);
    kept_values_.pop(chunk_);
  }

  /// The chunk of stair i - 1, if any, goes to stair i.
  void requantize(std::size_t i, Index b, Index h) noexcept {
    const Stair& from = stairs_[i - 1];
    Stair& to = stairs_[i];
    const Index at = i + 1 == stairs_.size() ? to.count : 0;
    for (Index t = 0; t < from.count; ++t) {
      for (Index d = 0; d < sizes_.key_dim; ++d) lower(from.keys, to.keys, b, h, t, at + t, d);
      for (Index d = 0; d < sizes_.value_dim; ++d)
        lower(from.values, to.values, b, h, t, at + t, d);
    }
  }

  /// One number; that its grid is written as often as it has members does no harm.
  template <class Plane>
  static void lower(const Plane& from, Plane& to, Index b, Index h, Index t, Index to_t,
                    Index d) noexcept {
    const int had = from.format().top(), has = to.format().top();
    KvGrid grid = from.grid(b, h, t, d);
    grid.format = to.format();
    grid.scale *= static_cast<float>(had) / static_cast<float>(has);
    to.set_grid(b, h, to_t, d, grid);
    to.set_code(b, h, to_t, d, (2 * from.code(b, h, t, d) * has + had) / (2 * had));
  }

  CacheSizes sizes_;
  Index chunk_;
  std::vector<Stair> stairs_;
  KeptRows kept_keys_, kept_values_;
};
static_assert(CodedCache<SaqCache>);

}  // namespace weft::quant
