#pragma once

#include <weft/position/rope.hpp>

namespace weft {

/// Queries and keys of complex multi-head attention (ComplexFormer, 2025; CMHA).
///
/// Channels d and d + D / 2 of a head are a complex number z_d = |z_d| exp(i phi_d). The score is
///   s_mn = sum_d |q_md| |k_nd| cos(delta_hd (phi_q,md - phi_k,nd) + b_hd + (m - n) g_d)
///   |z|  = sqrt(re^2 + im^2 + 1e-9),  phi = atan2(im, re),  g_d = 10000^(-2 d / D)
/// with learned delta and b, [H, D / 2], and without 1 / sqrt(D). It is the dot product of
///   |q_d| exp(i (delta_hd phi + b_hd + m g_d))   and   |k_d| exp(i (delta_hd phi + n g_d))
/// so each row is turned once and plain attention does the rest, in every mode and with any cache:
///
///   RopeTable table(rope_frequencies(D), RopeLayout::half, positions);
///   apply_complex_phase(table, delta, b, q, q, first_query);       queries
///   apply_complex_phase(table, delta, {}, k, k, first_key);        keys: no b
///   forward(Softmax{mask, NoScore{}, PlainSoftmax{}, 1.0}, q, k, v, out);
///
/// With delta = 1 and b = 0 this is RoPE but for the 1e-9. Where delta is not an integer the score
/// jumps when a phase passes pi; that is the mechanism's own.
///
/// x and out [B, H, N, D], any strides but 1 in the last axis; out may be x. Row n stands at
/// position first + n. Elements float, bf16 or fp16 with a float table, double with a double one.
/// Throws when shapes disagree, the table is not of layout `half` with R = D, or a position is not
/// in it. Time O(B H N D), about one atan2 and one sine and cosine per pair.
namespace detail {

/// One row: y = |z| exp(i (delta phi + b)) (cosine + i sine); b may be null.
template <class A, class S, class T>
void turn_phases(const S* x, S* y, const T* delta, const T* b, const T* cosines, const T* sines,
                 Index pairs) noexcept {
  using V = Vec<T, A>;
  for (Index i = 0; i < pairs; i += kWidth<T, A>) {
    const Index lanes = std::min(kWidth<T, A>, pairs - i);
    const V re = load_as_partial<T, A>(x + i, lanes);
    const V im = load_as_partial<T, A>(x + pairs + i, lanes);
    const V length = xsimd::sqrt(mul_add(re, re, mul_add(im, im, V(static_cast<T>(1e-9)))));
    V phase = xsimd::atan2(im, re) * load_partial<A>(delta + i, lanes);
    if (b != nullptr) phase += load_partial<A>(b + i, lanes);
    const auto [sine, cosine] = xsimd::sincos(phase);
    const V turn_re = load_partial<A>(cosines + i, lanes);
    const V turn_im = load_partial<A>(sines + i, lanes);
    store_as_partial<A>(y + i, length * (cosine * turn_re - sine * turn_im), lanes);
    store_as_partial<A>(y + pairs + i, length * (sine * turn_re + cosine * turn_im), lanes);
  }
}

template <class T>
void check_phase_parameter(const char* name, View<const T, 2> values, Index heads, Index pairs) {
  require(values.extent(0) == heads && values.extent(1) == pairs, "apply_complex_phase: ", name,
          " is ", values, ", wanted [", heads, ", ", pairs, "]");
  require(pairs <= 1 || values.stride(1) == 1, "apply_complex_phase: ", name,
          " must have contiguous rows");
}

}  // namespace detail

template <class A = DefaultArch, class T, ViewLike<4> X, ViewLike<4> Y>
void apply_complex_phase(const RopeTable<T>& table, std::type_identity_t<View<const T, 2>> delta,
                         std::type_identity_t<View<const T, 2>> b, const X& x, Y&& out, Index first,
                         const Context& ctx = Context{}) {
  using S = typename decltype(view_of(out))::value_type;
  const View<const S, 4> from = view_of(x);
  const View<S, 4> to = view_of(out);
  const Index heads = from.extent(1), length = from.extent(2), pairs = table.rotary() / 2;
  detail::check_rope_arguments<S>(table, from, to);
  require(table.layout() == RopeLayout::half && table.rotary() == from.extent(3),
          "apply_complex_phase: the table turns ", table.rotary(), " channels, x has ",
          from.extent(3), "; wanted all of them in the layout `half`");
  detail::check_phase_parameter("delta", delta, heads, pairs);
  if (b.data() != nullptr) detail::check_phase_parameter("b", b, heads, pairs);
  if (from.empty()) return;
  detail::check_rope_position(table, first, first + length);
  ctx.parallel(from.extent(0) * heads, [&](Index task, Arena&) {
    const Index batch = task / heads, h = task % heads;
    const T* shift = b.data() == nullptr ? nullptr : b.pointer(h);
    for (Index n = 0; n < length; ++n) {
      const Index row = first + n - table.first();
      detail::turn_phases<A>(from.pointer(batch, h, n), to.pointer(batch, h, n), delta.pointer(h),
                             shift, table.cosines(row), table.sines(row), pairs);
    }
  });
}

}  // namespace weft
