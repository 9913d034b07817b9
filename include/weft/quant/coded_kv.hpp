#pragma once

#include <weft/attention/softmax/dot_keys.hpp>
#include <weft/attention/softmax/row_pass.hpp>
#include <weft/core/row_access.hpp>
#include <weft/quant/float8_plane.hpp>
#include <weft/quant/hadamard.hpp>
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

/// The keys, or the values, in order of tokens: those of the planes, oldest first; then rows of
/// floats that a cache keeps; then new rows of the caller. Views are [B, Hk, tokens, channels].
template <class Plane>
struct CodedSide {
  CodedTokens<Plane> planes[kMaxPlanes];
  CodedTokens<Float8Plane> float8;
  View<const float, 4> kept, fresh;

  /// Cuts tokens [j0, j0 + n) of a head where their storage changes. coded(plane, token, count, at)
  /// is called for planes of integers; rows(read, count, at) for the rest, where read(i, n, to, ld)
  /// writes out rows i, ..., i + n of the part; `at` is counted from j0.
  template <class A, class Coded, class Rows>
  void walk(Index b, Index h, Index j0, Index n, const Coded& coded,
            const Rows& rows) const noexcept {
    Index begin = 0;  // first token of the part
    const auto part = [&](Index count, const auto& f) {
      const Index from = std::max(j0, begin), to = std::min(j0 + n, begin + count);
      if (from < to) f(from - begin, to - from, from - j0);
      begin += count;
    };
    const auto floats = [&](const View<const float, 4>& x) {
      part(x.extent(2), [&](Index t, Index count, Index at) {
        rows([&](Index i, Index some, float* to,
                 Index ld) { copy_rows<A>(x, b, h, t + i, some, to, ld); },
             count, at);
      });
    };
    for (const auto& p : planes)
      part(p.count, [&](Index t, Index count, Index at) { coded(*p.plane, t, count, at); });
    part(float8.count, [&](Index t, Index count, Index at) {
      rows([&](Index i, Index some, float* to,
               Index ld) { float8.plane->template read<A>(b, h, t + i, some, to, ld); },
           count, at);
    });
    floats(kept);
    floats(fresh);
  }

  /// Tokens [j0, j0 + n) as rows of floats, zero behind their channels.
  template <class A>
  void read(Index b, Index h, Index j0, Index n, float* to, Index ld) const noexcept {
    walk<A>(
        b, h, j0, n,
        [&](const Plane& plane, Index t, Index count, Index at) {
          plane.read(b, h, t, count, to + at * ld, ld);
        },
        [&](const auto& rows, Index count, Index at) { rows(0, count, to + at * ld, ld); });
  }

 private:
  template <class A>
  static void copy_rows(const View<const float, 4>& from, Index b, Index h, Index i, Index n,
                        float* to, Index ld) noexcept {
    for (Index r = 0; r < n; ++r)
      weft::detail::convert_row<float, A>(from.pointer(b, h, i + r), to + r * ld, from.extent(3),
                                          ld);
  }
};

/// Writes out rows of a plane from token `first` of a head on.
template <class Plane>
struct PlaneReader {
  const Plane& plane;
  Index batch, head, first;

  void operator()(Index i, Index n, float* to, Index ld) const noexcept {
    plane.read(batch, head, first + i, n, to, ld);
  }
};

/// A row times the Hadamard matrix, in place, as HadamardRotation without signs has it; twice is
/// the row itself.
template <class A>
void rotate_row(float* row, Index dim) noexcept {
  const Index block = dim & -dim;
  for (Index at = 0; at < dim; at += block)
    detail::hadamard_row<A, float>(detail::PlainRow<float, A>{row + at}, row + at, block);
}

/// Both sides, and their sizes.
struct CodedKv {
  Index heads = 0, key_channels = 0, value_channels = 0, tokens = 0;
  bool rotated_keys = false;  ///< planes hold keys times the Hadamard matrix, grids of tokens only
  CodedSide<KeyPlane> key_side;
  CodedSide<ValuePlane> value_side;

  Index keys(Index) const noexcept { return tokens; }
  Index kv_heads() const noexcept { return heads; }
  Index key_dim() const noexcept { return key_channels; }
  Index value_dim() const noexcept { return value_channels; }

  template <class A>
  void read_keys(Index b, Index h, Index j0, Index n, float* to, Index ld) const noexcept {
    key_side.read<A>(b, h, j0, n, to, ld);
    for (Index i = 0; rotated_keys && i < n; ++i) rotate_row<A>(to + i * ld, key_channels);
  }
  template <class A>
  void read_values(Index b, Index h, Index j0, Index n, float* to, Index ld) const noexcept {
    value_side.read<A>(b, h, j0, n, to, ld);
  }

  Index scratch_size(Index rows) const noexcept {
    return detail::KeyWork::size(rows, key_channels) +
           detail::ValueWork::size(rows, value_channels) +
           kRows * round_up(std::max(key_channels, value_channels), 16);
  }

  /// Queries for the planes whose keys have grids of tokens; the others want them group by group.
  template <class A>
  void begin(const float* q, Index q_ld, Index rows, float* scratch) const noexcept {
    const auto work = detail::KeyWork::in(scratch, rows, key_channels);
    for (const auto& part : key_side.planes)
      if (part.count > 0 && part.plane->group() == 0) {
        for (Index r = 0; r < rows; ++r) {
          const float* query = q + r * q_ld;
          if (rotated_keys) {
            float* rotated = row_buffer(scratch, rows);
            std::copy_n(query, q_ld, rotated);
            rotate_row<A>(rotated, key_channels);
            query = rotated;
          }
          detail::encode_factors<A>({query, nullptr, nullptr, 0}, key_channels, r, work.plain);
        }
        return;
      }
  }

  template <class A>
  void logits(const KvTile& tile, const float* q, Index q_ld, float* scratch, float* s,
              Index s_ld) const noexcept {
    const auto work = detail::KeyWork::in(scratch, tile.rows, key_channels);
    const auto rows = [&](const auto& read, Index count, Index at) {
      for_rows<A>(tile, key_channels, scratch, read, count,
                  [&](Index i, Index n, const float* keys, Index ld) {
                    for (Index r = 0; r < tile.rows; ++r)
                      dot_rows<A>(q + r * q_ld, {keys, ld}, n, s + r * s_ld + at + i);
                  });
    };
    const auto coded = [&](const KeyPlane& plane, Index t, Index count, Index at) {
      if (detail::groups_fit<A>(plane))
        detail::coded_logits<A>(plane, tile.batch, tile.head, t, count, q, q_ld, tile.rows, work,
                                s + at, s_ld);
      else
        rows(PlaneReader<KeyPlane>{plane, tile.batch, tile.head, t}, count, at);
    };
    key_side.walk<A>(tile.batch, tile.head, tile.first, tile.count, coded, rows);
  }

  template <class A>
  void add_values(const KvTile& tile, const float* p, Index p_ld, float* scratch, float* acc,
                  Index acc_ld) const noexcept {
    const auto work = detail::ValueWork::in(
        scratch + detail::KeyWork::size(tile.rows, key_channels), tile.rows, value_channels);
    const auto rows = [&](const auto& read, Index count, Index at) {
      for_rows<A>(tile, value_channels, scratch, read, count,
                  [&](Index i, Index n, const float* values, Index ld) {
                    add_rows<A>(p + at + i, p_ld, tile.rows, {values, ld}, n, acc, acc_ld);
                  });
    };
    const auto coded = [&](const ValuePlane& plane, Index t, Index count, Index at) {
      if (detail::groups_fit<A>(plane))
        detail::add_coded_values<A>(plane, tile.batch, tile.head, t, count, p + at, p_ld, tile.rows,
                                    work, acc, acc_ld);
      else
        rows(PlaneReader<ValuePlane>{plane, tile.batch, tile.head, t}, count, at);
    };
    value_side.walk<A>(tile.batch, tile.head, tile.first, tile.count, coded, rows);
  }

 private:
  static constexpr Index kRows = 16;  ///< rows written out at a time where codes are not used

  float* row_buffer(float* scratch, Index rows) const noexcept {
    return scratch + detail::KeyWork::size(rows, key_channels) +
           detail::ValueWork::size(rows, value_channels);
  }

  /// f(i, n, rows, ld) for `count` rows, kRows at a time.
  template <class A, class Read, class F>
  void for_rows(const KvTile& tile, Index dim, float* scratch, const Read& read, Index count,
                const F& f) const noexcept {
    float* buffer = row_buffer(scratch, tile.rows);
    const Index ld = round_up(dim, kWidth<float, A>);
    for (Index i = 0; i < count; i += kRows) {
      const Index n = std::min(kRows, count - i);
      read(i, n, buffer, ld);
      f(i, n, buffer, ld);
    }
  }

  template <class A>
  void dot_rows(const float* q, const weft::detail::RowsOf<float>& rows, Index n,
                float* s) const noexcept {
    constexpr Index W = kWidth<float, A>;
    for (Index c = 0; c < n; c += W)
      store_partial<A>(s + c, weft::detail::dot_keys<float, A>(q, key_channels, rows, c, n - c),
                       std::min(W, n - c));
  }

  /// Values that weigh nothing need not be finite.
  template <class A>
  void add_rows(const float* p, Index p_ld, Index rows, const weft::detail::RowsOf<float>& values,
                Index n, float* acc, Index acc_ld) const noexcept {
    if (weft::detail::rows_finite<float, A>(values, n, values.step))
      return weft::detail::strips_product<A, weft::detail::MultiplyAdd<float, A>>(
          rows, values.step, n, p, p_ld, values.at, values.step, acc, acc_ld, true);
    for (Index r = 0; r < rows; ++r)
      for (Index c = 0; c < n; ++c)
        if (const float weight = p[r * p_ld + c]; weight != 0.f)
          weft::detail::add_scaled_row<float, A>(weight, values.at + c * values.step, values.step,
                                                 acc + r * acc_ld);
  }
};
static_assert(KvTileSource<CodedKv>);

}  // namespace weft::quant
