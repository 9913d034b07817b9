#pragma once

#include <weft/attention/softmax/dot_keys.hpp>
#include <weft/core/row_access.hpp>
#include <weft/quant/kv_products.hpp>

/// Keys and values of which the older tokens are codes and the newer ones floats, as a source of
/// the softmax engine. It owns nothing: caches make one when they are asked for it.
namespace weft::quant {

/// Most planes of a source: one for each number of bits.
inline constexpr int kMaxPlanes = 3;

/// The first `count` tokens of a plane.
template <class Plane>
struct CodedTokens {
  const Plane* plane = nullptr;
  Index count = 0;
};

/// Tokens in order: those of the planes, oldest first; then rows of floats that a cache keeps; then
/// new rows of the caller. Keys and values may be divided differently. Views are [B, Hk, tokens,
/// channels].
struct CodedKv {
  Index heads = 0, key_channels = 0, value_channels = 0, tokens = 0;
  CodedTokens<KeyPlane> key_planes[kMaxPlanes];
  CodedTokens<ValuePlane> value_planes[kMaxPlanes];
  View<const float, 4> kept_keys, kept_values;
  View<const float, 4> new_keys, new_values;

  Index keys(Index) const noexcept { return tokens; }
  Index kv_heads() const noexcept { return heads; }
  Index key_dim() const noexcept { return key_channels; }
  Index value_dim() const noexcept { return value_channels; }

  template <class A>
  void read_keys(Index b, Index h, Index j0, Index n, float* to, Index ld) const noexcept {
    const auto coded = [&](const KeyPlane& plane, Index t, Index count, Index at) {
      read_plane(plane, b, h, t, count, to + at * ld, ld);
    };
    const auto rows = [&](const View<const float, 4>& from, Index i, Index count, Index at) {
      read_rows<A>(from, b, h, i, count, to + at * ld, ld);
    };
    walk(key_planes, kept_keys, new_keys, j0, n, coded, rows);
  }

  template <class A>
  void read_values(Index b, Index h, Index j0, Index n, float* to, Index ld) const noexcept {
    const auto coded = [&](const ValuePlane& plane, Index t, Index count, Index at) {
      read_plane(plane, b, h, t, count, to + at * ld, ld);
    };
    const auto rows = [&](const View<const float, 4>& from, Index i, Index count, Index at) {
      read_rows<A>(from, b, h, i, count, to + at * ld, ld);
    };
    walk(value_planes, kept_values, new_values, j0, n, coded, rows);
  }

  Index scratch_size(Index rows) const noexcept {
    return detail::KeyWork::size(rows, key_channels) +
           detail::ValueWork::size(rows, value_channels) +
           kRows * (round_up(std::max(key_channels, value_channels), 16) + 16);
  }

  /// Queries for the planes whose keys have grids of tokens; the others want them group by group.
  template <class A>
  void begin(const float* q, Index q_ld, Index rows, float* scratch) const noexcept {
    const auto work = detail::KeyWork::in(scratch, rows, key_channels);
    for (const auto& part : key_planes)
      if (part.count > 0 && part.plane->group() == 0) {
        for (Index r = 0; r < rows; ++r)
          detail::encode_factors<A>({q + r * q_ld, nullptr, nullptr, 0}, key_channels, r,
                                    work.plain);
        return;
      }
  }

  template <class A>
  void logits(const KvTile& tile, const float* q, Index q_ld, float* scratch, float* s,
              Index s_ld) const noexcept {
    const auto work = detail::KeyWork::in(scratch, tile.rows, key_channels);
    const auto dense = [&](const auto& read, Index count, Index at) {
      const Index ld = row_ld<A>(key_channels);
      float* buffer = row_buffer(scratch, tile.rows);
      for (Index i = 0; i < count; i += kRows) {
        const Index some = std::min(kRows, count - i);
        read(i, some, buffer, ld);
        for (Index r = 0; r < tile.rows; ++r)
          dense_logits<A>(q + r * q_ld, {buffer, ld}, some, s + r * s_ld + at + i);
      }
    };
    const auto coded = [&](const KeyPlane& plane, Index t, Index count, Index at) {
      if (detail::groups_fit<A>(plane))
        return detail::coded_logits<A>(plane, tile.batch, tile.head, t, count, q, q_ld, tile.rows,
                                       work, s + at, s_ld);
      dense([&](Index i, Index some, float* to,
                Index ld) { read_plane(plane, tile.batch, tile.head, t + i, some, to, ld); },
            count, at);
    };
    const auto rows = [&](const View<const float, 4>& from, Index first, Index count, Index at) {
      dense([&](Index i, Index some, float* to,
                Index ld) { read_rows<A>(from, tile.batch, tile.head, first + i, some, to, ld); },
            count, at);
    };
    walk(key_planes, kept_keys, new_keys, tile.first, tile.count, coded, rows);
  }

  template <class A>
  void add_values(const KvTile& tile, const float* p, Index p_ld, float* scratch, float* acc,
                  Index acc_ld) const noexcept {
    float* after_keys = scratch + detail::KeyWork::size(tile.rows, key_channels);
    const auto work = detail::ValueWork::in(after_keys, tile.rows, value_channels);
    const auto dense = [&](const auto& read, Index count, Index at) {
      const Index ld = row_ld<A>(value_channels);
      float* buffer = row_buffer(scratch, tile.rows);
      for (Index i = 0; i < count; i += kRows) {
        const Index some = std::min(kRows, count - i);
        read(i, some, buffer, ld);
        dense_values<A>(p + at + i, p_ld, tile.rows, buffer, ld, some, acc, acc_ld);
      }
    };
    const auto coded = [&](const ValuePlane& plane, Index t, Index count, Index at) {
      if (detail::groups_fit<A>(plane))
        return detail::add_coded_values<A>(plane, tile.batch, tile.head, t, count, p + at, p_ld,
                                           tile.rows, work, acc, acc_ld);
      dense([&](Index i, Index some, float* to,
                Index ld) { read_plane(plane, tile.batch, tile.head, t + i, some, to, ld); },
            count, at);
    };
    const auto rows = [&](const View<const float, 4>& from, Index first, Index count, Index at) {
      dense([&](Index i, Index some, float* to,
                Index ld) { read_rows<A>(from, tile.batch, tile.head, first + i, some, to, ld); },
            count, at);
    };
    walk(value_planes, kept_values, new_values, tile.first, tile.count, coded, rows);
  }

 private:
  static constexpr Index kRows = 16;  ///< rows decoded at a time where codes cannot be used

  template <class A>
  static constexpr Index row_ld(Index dim) noexcept {
    return round_up(dim, kWidth<float, A>);
  }

  float* row_buffer(float* scratch, Index rows) const noexcept {
    return scratch + detail::KeyWork::size(rows, key_channels) +
           detail::ValueWork::size(rows, value_channels);
  }

  /// Cuts tokens [j0, j0 + n) where their storage changes: coded(plane, token, count, at) and
  /// rows(view, token, count, at), `at` counted from j0.
  template <class Parts, class Coded, class Rows>
  static void walk(const Parts& planes, const View<const float, 4>& kept,
                   const View<const float, 4>& fresh, Index j0, Index n, const Coded& coded,
                   const Rows& rows) noexcept {
    Index begin = 0;  // first token of the part
    const auto part = [&](Index count, const auto& f) {
      const Index from = std::max(j0, begin), to = std::min(j0 + n, begin + count);
      if (from < to) f(from - begin, to - from, from - j0);
      begin += count;
    };
    for (const auto& p : planes)
      part(p.count, [&](Index t, Index count, Index at) { coded(*p.plane, t, count, at); });
    part(kept.extent(2), [&](Index t, Index count, Index at) { rows(kept, t, count, at); });
    part(fresh.extent(2), [&](Index t, Index count, Index at) { rows(fresh, t, count, at); });
  }

  template <class Plane>
  static void read_plane(const Plane& plane, Index b, Index h, Index t, Index n, float* to,
                         Index ld) noexcept {
    for (Index i = 0; i < n; ++i, to += ld) {
      for (Index d = 0; d < plane.dim(); ++d)
        to[d] = plane.grid(b, h, t + i, d).decode(plane.code(b, h, t + i, d));
      std::fill(to + plane.dim(), to + ld, 0.f);
    }
  }

  template <class A>
  static void read_rows(const View<const float, 4>& from, Index b, Index h, Index i, Index n,
                        float* to, Index ld) noexcept {
    for (Index r = 0; r < n; ++r)
      weft::detail::convert_row<float, A>(from.pointer(b, h, i + r), to + r * ld, from.extent(3),
                                          ld);
  }

  template <class A>
  void dense_logits(const float* q, const weft::detail::RowsOf<float>& rows, Index n,
                    float* s) const noexcept {
    constexpr Index W = kWidth<float, A>;
    for (Index c = 0; c < n; c += W)
      store_partial<A>(s + c, weft::detail::dot_keys<float, A>(q, key_channels, rows, c, n - c),
                       std::min(W, n - c));
  }

  /// Rows whose weight is zero are left out: they need not be finite.
  template <class A>
  void dense_values(const float* p, Index p_ld, Index rows, const float* values, Index ld, Index n,
                    float* acc, Index acc_ld) const noexcept {
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < n; ++c)
        if (const float weight = p[r * p_ld + c]; weight != 0.f)
          weft::detail::add_scaled_row<float, A>(weight, values + c * ld, ld, acc + r * acc_ld);
  }
};
static_assert(KvTileSource<CodedKv>);

}  // namespace weft::quant
