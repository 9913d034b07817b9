#pragma once

#include <weft/attention/softmax/tiles.hpp>
#include <weft/core/bytes.hpp>
#include <weft/quant/dot_codes.hpp>
#include <weft/quant/kv_plane.hpp>

#include <utility>

/// The two products of attention with few queries on the codes of a cache, without writing out the
/// numbers that they stand for.
///
///   s_rj   = sum_d q_rd (s_jd (u_jd - z) + c_jd)          c = low + z scale, z the middle code
///          = s_j sum_d q_rd (u_jd - z) + c_j sum_d q_rd                  a grid per token
///          = sum_d (q_rd s_gd) (u_jd - z) + sum_d q_rd c_gd              per channel of a group
///   acc_re += sum_j (p_rj s_jh) (u_je - z) + sum_j p_rj c_jh             h: group of channels of e
///
/// What stands before the codes, a row of queries or weights times scales, is taken as integers in
/// two or three signed bytes; their products with the codes are exact (dot_codes.hpp). Three bytes
/// are the precision of fp32 and cost half of what codes widened to floats do: up to two query rows
/// per KV head memory hides it. More rows take two bytes, which round factors to 2^-16 of the
/// largest of their row (codes of 8 bits are rounded to 2^-8).
namespace weft::quant::detail {

/// Bytes of the integers that factors become, at most and with so many rows.
inline constexpr Index kMostBytes = 3;
constexpr Index factor_bytes(Index rows) noexcept { return rows <= 2 ? kMostBytes : 2; }

/// Rows of factors as integers: row r is the sum of 2^(8 i) parts[bytes r + i], times step[r].
struct CodedFactors {
  Index bytes;
  std::int8_t* parts;
  Index ld;  ///< bytes of a part: whole registers, zero beyond the factors
  float* step;
  float* constant;      ///< sum of the factors, or of those without scales times c
  std::int32_t* total;  ///< sum of each part

  static Index size(Index rows, Index n) noexcept {
    return rows * (factor_bytes(rows) * (round_up(n, 64) / 4 + 1) + 2);
  }
  static CodedFactors in(float* memory, Index rows, Index n) noexcept {
    CodedFactors out{};
    out.bytes = factor_bytes(rows);
    out.ld = round_up(n, 64);
    out.parts = reinterpret_cast<std::int8_t*>(memory);
    memory += rows * out.bytes * (out.ld / 4);
    out.step = memory;
    out.constant = memory + rows;
    out.total = reinterpret_cast<std::int32_t*>(memory + 2 * rows);
    return out;
  }

  /// The largest integer: 127 in all bytes.
  float top() const noexcept { return bytes == 2 ? 0x7f7f : 0x7f7f7f; }
};

/// What is to be encoded: factors x, times `scales` unless null. All are readable up to whole
/// registers, where factors are zero. A factor of zero stays zero whatever its scale is.
template <class A>
struct ScaledFactors {
  using V = Vec<float, A>;
  const float* x;
  const float* scales;
  const float* lows;  ///< or null
  int center;

  [[gnu::always_inline]] V at(Index i) const noexcept {
    const V f = load<A>(x + i);
    if (scales == nullptr) return f;
    return xsimd::select(f == V(0.f), V(0.f), f * load<A>(scales + i));
  }
  /// The part of the constant.
  [[gnu::always_inline]] V constant(Index i) const noexcept {
    const V f = load<A>(x + i);
    if (scales == nullptr) return f;
    const V c = mul_add(load<A>(scales + i), V(static_cast<float>(center)), load<A>(lows + i));
    return xsimd::select(f == V(0.f), V(0.f), f * c);
  }
};

/// Signed bytes of integers, and the sums of each.
template <class A, int Bytes>
void split_bytes(const ScaledFactors<A>& factors, Index n, float inverse, float most, Index ld,
                 std::int8_t* parts, std::int32_t* total) noexcept {
  using V = Vec<float, A>;
  using I = Vec<std::int32_t, A>;
  const V factor(inverse), top(most);
  I totals[Bytes];
  for (int p = 0; p < Bytes; ++p) totals[p] = I(0);
  for (Index d = 0; d < n; d += kWidth<float, A>) {
    // The inverse is rounded, and infinite for the least of numbers: hence the bounds.
    I rest = xsimd::nearbyint_as_int(xsimd::max(xsimd::min(factors.at(d) * factor, top), -top));
#pragma GCC unroll 4
    for (int p = 0; p < Bytes; ++p) {
      const I byte = p + 1 < Bytes ? (rest << 24) >> 24 : rest;
      store_bytes<A>(parts + p * ld + d, byte);
      totals[p] += byte;
      rest = (rest - byte) >> 8;
    }
  }
  for (int p = 0; p < Bytes; ++p) {
    alignas(64) std::int32_t lanes[kWidth<float, A>];
    totals[p].store_aligned(lanes);
    total[p] = 0;
    for (const std::int32_t lane : lanes) total[p] += lane;
  }
}

/// Row r of `out` from n factors.
template <class A>
void encode_factors(const ScaledFactors<A>& factors, Index n, Index r,
                    const CodedFactors& out) noexcept {
  using V = Vec<float, A>;
  V most(0.f), poison(0.f), constant(0.f);
  const bool wants_constant = factors.scales == nullptr || factors.lows != nullptr;
  for (Index d = 0; d < n; d += kWidth<float, A>) {
    const V y = factors.at(d);
    most = xsimd::max(most, xsimd::abs(y));
    poison += y - y;
    if (wants_constant) constant += factors.constant(d);
  }
  const float largest = weft::detail::max_lanes(most);
  const bool finite = weft::detail::sum_lanes(poison) == 0.f;
  const float step = largest / out.top();
  out.step[r] = finite ? step : std::numeric_limits<float>::quiet_NaN();
  out.constant[r] = wants_constant ? weft::detail::sum_lanes(constant) : 0.f;
  std::int8_t* parts = out.parts + r * out.bytes * out.ld;
  std::int32_t* total = out.total + r * out.bytes;
  const Index used = round_up(n, kWidth<float, A>);
  for (Index p = 0; p < out.bytes; ++p)
    std::fill(parts + p * out.ld + used, parts + (p + 1) * out.ld, std::int8_t{0});
  const bool empty = !finite || step == 0.f;
  const float inverse = 1 / step;
  if (empty) {
    std::fill_n(parts, out.bytes * out.ld, std::int8_t{0});
    std::fill_n(total, out.bytes, 0);
  } else if (out.bytes == 2) {
    split_bytes<A, 2>(factors, n, inverse, out.top(), out.ld, parts, total);
  } else {
    split_bytes<A, 3>(factors, n, inverse, out.top(), out.ld, parts, total);
  }
}

/// Where the codes of the next tile are: four parts of so many words.
struct TileAhead {
  const std::uint32_t* codes;
  Index part;
};

/// Asks for one line, or two, of the next tile per step of a strip, from two of its four parts: one
/// stream of loads does not keep the memory busy.
template <bool Two>
struct PrefetchTile {
  const std::uint32_t* next;
  Index part;

  [[gnu::always_inline]] void operator()(Index k) const noexcept {
    __builtin_prefetch(next + 16 * k, 0, 2);
    if constexpr (Two) __builtin_prefetch(next + part + 16 * k, 0, 2);
  }
};

/// Words of codes, row-major: `words` rows of them, `ld` apart, in whole registers of columns; of
/// which `before` columns of the tile came earlier.
struct CodeBlock {
  const std::uint32_t* codes;
  Index words, ld, cols, before;
  TileAhead ahead;
};

/// sums[bytes rows][sums_ld] of NV registers of columns from `col` on.
template <class A, int Bits, int NV>
void dot_strip(const CodedFactors& x, Index rows, const CodeBlock& block, Index col,
               std::int32_t* sums, Index sums_ld) noexcept {
  using Op = DotCodes<A, Bits>;
  const auto* left = reinterpret_cast<const weft::detail::ByteQuad*>(x.parts);
  const std::uint32_t* codes = block.codes + col;
  const Index line = (block.before + col) / 16;
  const PrefetchTile<(NV * kWidth<float, A> > 16)> next{
      block.ahead.codes + line % 4 * block.ahead.part + line / 4 * block.words * 16,
      block.ahead.part};
  if (rows * x.bytes == 8)  // four rows of two: one register tile, which unpacks codes once
    weft::detail::register_tile<A, 8, NV, Op>(block.words, left, x.ld / 4, codes, block.ld,
                                              sums + col, sums_ld, false, next);
  else
    weft::detail::rows_product<A, NV, Op>(rows * x.bytes, block.words, left, x.ld / 4, codes,
                                          block.ld, sums + col, sums_ld, false, next);
}

/// All columns.
template <class A, int Bits>
void dot_words(const CodedFactors& x, Index rows, const CodeBlock& block, std::int32_t* sums,
               Index sums_ld) noexcept {
  constexpr Index W = kWidth<float, A>;
  Index c = 0;
  for (; c + 2 * W <= block.cols; c += 2 * W)
    dot_strip<A, Bits, 2>(x, rows, block, c, sums, sums_ld);
  if (c < block.cols) dot_strip<A, Bits, 1>(x, rows, block, c, sums, sums_ld);
}

template <class A>
void dot_words(int bits, const CodedFactors& x, Index rows, const CodeBlock& block,
               std::int32_t* sums, Index sums_ld) noexcept {
  if (bits == 8) return dot_words<A, 8>(x, rows, block, sums, sums_ld);
  if (bits == 4) return dot_words<A, 4>(x, rows, block, sums, sums_ld);
  dot_words<A, 2>(x, rows, block, sums, sums_ld);
}

/// The products of row r with codes minus their middle: sums taken together, as floats.
template <class A>
class JoinedSums {
 public:
  using V = Vec<float, A>;
  using I = Vec<std::int32_t, A>;

  JoinedSums(const CodedFactors& x, Index r, int center, const std::int32_t* sums,
             Index ld) noexcept
      : step_(x.step[r]), sums_(sums + r * x.bytes * ld), ld_(ld), bytes_(x.bytes) {
    for (Index p = 0; p < bytes_; ++p) shift_[p] = I(x.total[r * bytes_ + p] * center);
  }

  /// Of columns c, c + 1, ...
  V operator()(Index c) const noexcept {
    V sum = mul_add(part(bytes_ - 1, c), V(256.f), part(bytes_ - 2, c));
    if (bytes_ == 3) sum = mul_add(sum, V(256.f), part(0, c));
    return sum * step_;
  }

 private:
  V part(Index p, Index c) const noexcept {
    return xsimd::to_float(load<A>(sums_ + p * ld_ + c) - shift_[p]);
  }

  V step_;
  I shift_[kMostBytes];
  const std::int32_t* sums_;
  Index ld_, bytes_;
};

/// Memory for the logits of a tile.
struct KeyWork {
  CodedFactors plain;     ///< queries for grids of tokens; encoded once
  CodedFactors rescaled;  ///< for grids of channels; encoded for each group
  std::int32_t* sums;     ///< of a panel
  float* logits;          ///< of one row of a panel

  static Index size(Index rows, Index dim) noexcept {
    return 2 * CodedFactors::size(rows, dim) + (factor_bytes(rows) * rows + 1) * KeyPlane::kPanel;
  }
  static KeyWork in(float* memory, Index rows, Index dim) noexcept {
    const Index queries = CodedFactors::size(rows, dim);
    float* sums = memory + 2 * queries;
    return {CodedFactors::in(memory, rows, dim), CodedFactors::in(memory + queries, rows, dim),
            reinterpret_cast<std::int32_t*>(sums),
            sums + factor_bytes(rows) * rows * KeyPlane::kPanel};
  }
};

/// Whether a group of keys fills whole registers, so that the kernel above can take it.
template <class A>
bool groups_fit(const KeyPlane& plane) noexcept {
  return plane.group() % kWidth<float, A> == 0;
}

/// s[first, last) of a row from the sums of a panel, whole registers. `scales` and `lows` are those
/// of its tokens, null where the queries have them already.
template <class A>
void scale_logits(const JoinedSums<A>& sums, float constant, int center, const float* scales,
                  const float* lows, Index first, Index last, float* s) noexcept {
  using V = Vec<float, A>;
  const V add(constant), z(static_cast<float>(center));
  for (Index c = first; c < last; c += kWidth<float, A>) {
    V x = sums(c);
    if (scales == nullptr)
      x = x + add;
    else if (lows == nullptr)
      x = x * load<A>(scales + c);
    else
      x = mul_add(x, load<A>(scales + c), add * mul_add(load<A>(scales + c), z, load<A>(lows + c)));
    store<A>(s + c, x);
  }
}

/// s[r, 0 .. n) = q_r . k_j for tokens [t, t + n) of a plane of which `groups_fit`.
template <class A>
void coded_logits(const KeyPlane& plane, Index b, Index h, Index t, Index n, const float* queries,
                  Index q_ld, Index rows, const KeyWork& work, float* s, Index s_ld) noexcept {
  constexpr Index P = KeyPlane::kPanel;
  const bool grouped = plane.group() != 0;
  const int center = plane.format().center();
  const Index tile = t / P * P, part = kKvTile / 4 * plane.words();
  const TileAhead ahead{plane.panel(b, h, t) + 4 * part, part};
  Index encoded = -1;  // group of the rescaled queries
  for (const Index end = t + n; t < end;) {
    const Index base = t / P * P;  // the token of lane 0
    const Index group_end = grouped ? (t / plane.group() + 1) * plane.group() : end;
    const Index stop = std::min({base + P, group_end, end});
    if (grouped && std::exchange(encoded, t / plane.group()) != t / plane.group())
      for (Index r = 0; r < rows; ++r)
        encode_factors<A>({queries + r * q_ld, plane.scales(b, h, t), plane.lows(b, h, t), center},
                          plane.dim(), r, work.rescaled);
    const CodedFactors& q = grouped ? work.rescaled : work.plain;
    const Index first = (t - base) / kWidth<float, A> * kWidth<float, A>, last = stop - base;
    const CodeBlock block{
        plane.panel(b, h, t) + first, plane.words(), P, round_up(last - first, kWidth<float, A>),
        base - tile + first,          ahead};
    dot_words<A>(plane.format().bits, q, rows, block, work.sums + first, P);
    for (Index r = 0; r < rows; ++r) {
      // Registers begin before t where that is not at the start of one.
      float* row = first == t - base ? s + r * s_ld - first : work.logits;
      scale_logits<A>({q, r, center, work.sums, P}, q.constant[r], center,
                      grouped ? nullptr : plane.scales(b, h, base),
                      grouped ? nullptr : plane.lows(b, h, base), first, last, row);
      if (row == work.logits) std::copy(row + (t - base), row + last, s + r * s_ld);
    }
    s += stop - t;
    t = stop;
  }
}

/// Memory for the values of a tile. Tokens of a word before the first of a tile weigh nothing.
struct ValueWork {
  static constexpr Index kTokens = kKvTile + 16;

  CodedFactors weights;
  std::int32_t* sums;  ///< [bytes rows][E]
  float* row;          ///< weights of a row

  static Index size(Index rows, Index dim) noexcept {
    return CodedFactors::size(rows, kTokens) + factor_bytes(rows) * rows * round_up(dim, 16) +
           kTokens;
  }
  static ValueWork in(float* memory, Index rows, Index dim) noexcept {
    float* sums = memory + CodedFactors::size(rows, kTokens);
    return {CodedFactors::in(memory, rows, kTokens), reinterpret_cast<std::int32_t*>(sums),
            sums + factor_bytes(rows) * rows * round_up(dim, 16)};
  }
};

/// Whether a register of values has one scale.
template <class A>
bool groups_fit(const ValuePlane& plane) noexcept {
  return plane.groups() == 1 || plane.group() % kWidth<float, A> == 0;
}

/// n numbers with zeros before and after them.
inline const float* padded_row(const float* from, Index lead, Index n, Index size,
                               float* to) noexcept {
  std::fill_n(to, lead, 0.f);
  std::copy_n(from, n, to + lead);
  std::fill(to + lead + n, to + size, 0.f);
  return to;
}

/// acc[r, :] += sum over tokens [t, t + n), n <= kKvTile, of p[r, .] v, for a plane of which
/// `groups_fit`.
template <class A>
void add_coded_values(const ValuePlane& plane, Index b, Index h, Index t, Index n, const float* p,
                      Index p_ld, Index rows, const ValueWork& work, float* acc,
                      Index acc_ld) noexcept {
  using V = Vec<float, A>;
  constexpr Index W = kWidth<float, A>;
  const int center = plane.format().center();
  const Index lead = t % plane.word_tokens(), first = t - lead, tokens = lead + n;
  const Index words = ceil_div(tokens, plane.word_tokens()), ld = plane.row_words();
  for (Index g = 0; g < plane.groups(); ++g) {
    const Index channel = g * plane.group();
    const Index cols = round_up(std::min(plane.group(), plane.dim() - channel), W);
    for (Index r = 0; r < rows; ++r) {
      const float* row = p + r * p_ld;
      if (lead != 0 || n % W != 0) row = padded_row(row, lead, n, round_up(tokens, W), work.row);
      encode_factors<A>({row, plane.scales(b, h, g, first), plane.lows(b, h, g, first), center},
                        tokens, r, work.weights);
    }
    const std::uint32_t* codes = plane.words(b, h, first);
    const CodeBlock block{
        codes + channel, words, ld, cols, channel, {codes + words * ld, words * ld / 4}};
    dot_words<A>(plane.format().bits, work.weights, rows, block, work.sums, ld);
    for (Index r = 0; r < rows; ++r) {
      const JoinedSums<A> sums(work.weights, r, center, work.sums, ld);
      const V constant(plane.format().symmetric ? 0.f : work.weights.constant[r]);
      float* to = acc + r * acc_ld + channel;
      for (Index e = 0; e < cols; e += W) store<A>(to + e, load<A>(to + e) + (sums(e) + constant));
    }
  }
}

}  // namespace weft::quant::detail
