#pragma once

#include <weft/attention/softmax/mixer.hpp>
#include <weft/core/gemm.hpp>

#include <cstdint>

/// What the mechanisms share that put a few keys in place of many: landmarks, projections, latents.
namespace weft::detail {

/// Which tokens of [B, N] exist, non-zero = yes; without data all do.
using TokenMask = View<const std::uint8_t, 2>;

/// A temporary of a given shape.
template <class T, std::size_t Rank>
View<T, Rank> scratch(Arena& arena, const std::array<Index, Rank>& shape) {
  return {arena.take<T>(View<T, Rank>(nullptr, shape).size()), shape};
}

inline void check_token_mask(const TokenMask& mask, Index batch, Index tokens) {
  require(mask.data() == nullptr || (mask.extent(0) == batch && mask.extent(1) == tokens),
          "the mask of tokens is ", mask, ", wanted [", batch, ", ", tokens, "]");
}

/// x [B, H, N, D] with zeros in place of the tokens that do not exist, whatever stands there;
/// x itself without a mask.
template <class T>
View<const T, 4> without_masked(const View<const T, 4>& x, const TokenMask& mask, Arena& arena) {
  if (mask.data() == nullptr) return x;
  const View<T, 4> copy = scratch<T, 4>(arena, x.shape());
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index h = 0; h < x.extent(1); ++h)
      for (Index n = 0; n < x.extent(2); ++n)
        if (mask(b, n) != 0)
          std::copy_n(x.pointer(b, h, n), x.extent(3), copy.pointer(b, h, n));
        else
          std::fill_n(copy.pointer(b, h, n), x.extent(3), T(0));
  return copy;
}

/// The mask as softmax attention takes it.
inline BoolMask key_mask(const TokenMask& mask) noexcept {
  return BoolMask({mask.data(),
                   {mask.extent(0), 1, 1, mask.extent(1)},
                   {mask.stride(0), 0, 0, mask.stride(1)}});
}

/// Values whose weighted sums are the weights themselves, seen for every head: [B, H, n, n].
template <class T>
View<const T, 4> identity_values(Index batch, Index heads, Index n, Arena& arena) {
  T* at = arena.take<T>(n * n);
  std::fill_n(at, n * n, T(0));
  for (Index i = 0; i < n; ++i) at[i * n + i] = T(1);
  return {at, {batch, heads, n, n}, {0, 0, n, 1}};
}

/// out = softmax(logits) v over the last axis; logits [B, H, N, M], -inf hides.
template <class A, class M, class T, class O>
void attend_by_logits(const M& mask, const View<const T, 4>& logits, const View<const T, 4>& v,
                      const O& out, const Context& ctx) {
  static constexpr T kZero = 0;
  const View<const T, 4> q(&kZero, {v.extent(0), logits.extent(1), logits.extent(2), 1},
                           {0, 0, 0, 1});
  const View<const T, 4> k(&kZero, {v.extent(0), v.extent(1), v.extent(2), 1}, {0, 0, 0, 1});
  forward<A>(Softmax{mask, AdditiveBias<T>(logits)}, q, k, v, out, ctx);
}

/// Calls f(b, h) for every head, in order.
template <class F>
void for_each_head(Index batch, Index heads, F f) {
  for (Index b = 0; b < batch; ++b)
    for (Index h = 0; h < heads; ++h) f(b, h);
}

template <class T, std::size_t Rank>
View<T, 2> head_of(const View<T, Rank>& x, Index b, Index h) {
  static_assert(Rank == 4);
  return x.select(0, b).select(0, h);
}

}  // namespace weft::detail
