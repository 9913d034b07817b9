#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/simd.hpp>
#include <weft/core/tensor.hpp>

#include <algorithm>
#include <cstdint>

/// Probabilities that are powers of two, times values, by shifts and additions alone:
///
///   out[n, e] = sum over m of floor(v[m, e] 2^(fraction - code[n, m]))          out ~ P V
///   2^fraction
///
/// codes [N, M] are those of LogIntegerSoftmax: probability 2^-code, and 0 from `flushed` on; v
/// [M, E] 8-bit codes of values, out [N, E]. Nothing is lost to the floor when fraction is at least
/// the largest code below `flushed`; FQ-ViT (arXiv 2111.13824) has both, V >> code and
/// V << (2^bits - 1 - code).
///
/// Values are widened and shifted left once, then each code costs a shift and an addition per
/// value; codes that are flushed cost nothing. Sums are int32 and wrap: they are right as long as
/// 2^(7 + fraction) times the sum of the probabilities of a row (at most about 4/3 for a softmax)
/// is below 2^31. Time O(N M E), scratch 4 M E bytes. Throws where shapes differ, rows are not
/// contiguous and fraction is not in [0, 23].
namespace weft::quant {

namespace detail {

/// One key that a row sees, and how far its value is shifted to the right.
struct ShiftTerm {
  std::int32_t key, shift;
};

/// v << fraction as int32, rows padded with zeros to whole registers; in the memory of `arena`.
template <class A>
const std::int32_t* widen_values(const View<const std::int8_t, 2>& v, int fraction, Arena& arena) {
  const Index cols = v.extent(1), padded = round_up(cols, kWidth<std::int32_t, A>);
  auto* wide = arena.take<std::int32_t>(v.extent(0) * padded);
  for (Index m = 0; m < v.extent(0); ++m) {
    const std::int8_t* from = v.pointer(m);
    std::int32_t* to = wide + m * padded;
    for (Index e = 0; e < cols; ++e) to[e] = from[e] * (1 << fraction);
    std::fill(to + cols, to + padded, 0);
  }
  return wide;
}

/// out[0, Regs W) = sum of values[key] >> shift.
template <class A, int Regs>
void add_shifted_columns(const ShiftTerm* terms, Index count, const std::int32_t* values, Index ld,
                         std::int32_t* out) noexcept {
  using V = Vec<std::int32_t, A>;
  constexpr Index W = kWidth<std::int32_t, A>;
  V sums[Regs];
#pragma GCC unroll 4
  for (int k = 0; k < Regs; ++k) sums[k] = V(0);
  for (Index i = 0; i < count; ++i) {
    const std::int32_t* row = values + terms[i].key * ld;
#pragma GCC unroll 4
    for (int k = 0; k < Regs; ++k) sums[k] += load<A>(row + k * W) >> terms[i].shift;
  }
#pragma GCC unroll 4
  for (int k = 0; k < Regs; ++k) store<A>(out + k * W, sums[k]);
}

/// out[0, cols) = sum of values[key] >> shift; cols is a multiple of the register.
template <class A>
void add_shifted(const ShiftTerm* terms, Index count, const std::int32_t* values, Index cols,
                 std::int32_t* out) noexcept {
  constexpr Index W = kWidth<std::int32_t, A>;
  Index e = 0;
  for (; e + 4 * W <= cols; e += 4 * W)
    add_shifted_columns<A, 4>(terms, count, values + e, cols, out + e);
  for (; e < cols; e += W) add_shifted_columns<A, 1>(terms, count, values + e, cols, out + e);
}

/// The keys whose code counts, with shift(code); returns how many there are.
template <class Counts, class Shift>
Index shift_terms(const std::uint8_t* codes, Index keys, Counts counts, Shift shift,
                  ShiftTerm* terms) noexcept {
  Index count = 0;
  for (Index m = 0; m < keys; ++m) {
    const int code = codes[m];
    terms[count] = {static_cast<std::int32_t>(m), shift(code)};
    count += counts(code) ? 1 : 0;
  }
  return count;
}

template <class T>
void check_shift_product(const char* verb, const View<const std::uint8_t, 2>& codes, int flushed,
                         const View<const std::int8_t, 2>& v, int fraction, const View<T, 2>& out) {
  require(codes.extent(1) == v.extent(0) && out.extent(0) == codes.extent(0) &&
              out.extent(1) == v.extent(1),
          verb, ": codes are ", codes, ", v ", v, ", out ", out, "; wanted [N, M], [M, E], [N, E]");
  const auto contiguous = [](const auto& x) { return x.extent(1) <= 1 || x.stride(1) == 1; };
  require(contiguous(codes) && contiguous(v) && contiguous(out), verb,
          ": the rows of codes, v and out must be contiguous");
  require(fraction >= 0 && fraction <= 23, verb, ": a fraction of ", fraction,
          " bits, must be 0 to 23");
  require(flushed >= 0 && flushed <= 256, verb, ": codes are flushed from ", flushed,
          " on, must be 0 to 256");
}

/// Rows that one task takes.
inline constexpr Index kShiftRows = 16;

/// Calls row(n, arena) for all rows of an [N, M] x [M, E] product.
template <class F>
void for_each_shift_row(Index rows, const Context& ctx, F row) {
  ctx.parallel(ceil_div(rows, kShiftRows), [&](Index task, Arena& arena) {
    const Index end = std::min((task + 1) * kShiftRows, rows);
    for (Index n = task * kShiftRows; n < end; ++n) {
      const Arena::Frame frame(arena);
      row(n, arena);
    }
  });
}

}  // namespace detail

/// out = P V 2^fraction for codes of 2^-code, codes from `flushed` on (2^bits of the softmax)
/// being 0.
template <class A = DefaultArch>
void shift_product(View<const std::uint8_t, 2> codes, int flushed, View<const std::int8_t, 2> v,
                   int fraction, View<std::int32_t, 2> out, const Context& ctx = Context{}) {
  detail::check_shift_product("shift_product", codes, flushed, v, fraction, out);
  const Index keys = v.extent(0), cols = v.extent(1);
  const Index padded = round_up(cols, kWidth<std::int32_t, A>);
  const Arena::Frame frame(ctx.arena());
  const std::int32_t* values = detail::widen_values<A>(v, fraction, ctx.arena());
  detail::for_each_shift_row(out.extent(0), ctx, [&](Index n, Arena& arena) {
    auto* terms = arena.take<detail::ShiftTerm>(keys);
    auto* sums = arena.take<std::int32_t>(padded);
    const Index count = detail::shift_terms(
        codes.pointer(n), keys, [&](int code) { return code < flushed; },
        // A shift by 31 or more leaves the sign alone, as the definition does.
        [](int code) { return std::min(code, 31); }, terms);
    detail::add_shifted<A>(terms, count, values, padded, sums);
    std::copy_n(sums, cols, out.pointer(n));
  });
}

}  // namespace weft::quant
