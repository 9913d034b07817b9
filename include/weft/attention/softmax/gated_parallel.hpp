#pragma once

#include <weft/layer/norm.hpp>

#include <cstdint>

namespace weft {

/// The mixing step of gated parallel attention (Theme Transformer, arXiv:2111.04093): a decoder
/// layer attends to the sequence itself and to a theme side by side,
///
///   out[b, t] = norm(x + (a self[b, t] + g cross[b, t]) / 2),   g = gate[b, t] != 0
///   a = 1 - g when the two exclude each other, else 1
///
/// self and cross are two ordinary attentions, each over x with its own position encoding. x, self,
/// cross and out [B, N, C], gate [B, N]; norm is LayerNorm with eps 1e-5 in the paper. What is
/// gated off is not read: it may hold anything, and its attention need not have been computed. out
/// may be x. Elements and parameters as for normalize, which see. Throws where shapes disagree.
/// Time O(B N C).
template <class A = DefaultArch, RowNorm N, ViewLike<3> X, ViewLike<3> S, ViewLike<3> C,
          ViewLike<3> O>
void mix_gated_parallel(const N& norm, bool exclusive, View<const std::int32_t, 2> gate, const X& x,
                        const S& self, const C& cross, O&& out, const Context& ctx = Context()) {
  const auto to = view_of(out);
  using Element = typename decltype(to)::value_type;
  using T = Accumulator<Element>;
  const View<const Element, 3> from = view_of(x), own = view_of(self), other = view_of(cross);
  const Index length = to.extent(1), channels = to.extent(2);
  detail::require_same_rows("mix_gated_parallel", "x", from, "out", to);
  detail::require_same_rows("mix_gated_parallel", "x", from, "self", own);
  detail::require_same_rows("mix_gated_parallel", "x", from, "cross", other);
  require(gate.extent(0) == to.extent(0) && gate.extent(1) == length,
          "mix_gated_parallel: gate is ", gate, ", x is ", from, "; gate is [B, N]");
  detail::check_norm(norm, channels);
  detail::for_each_row(
      ctx,
      [&](Index row, Element* y, const Element* residual, const Element* a, const Element* c) {
        const bool open = gate(row / length, row % length) != 0, alone = open && exclusive;
        for (Index d = 0; d < channels; d += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, channels - d);
          Vec<T, A> sum(T(0));
          if (!alone) sum += load_as_partial<T, A>(a + d, lanes);
          if (open) sum += load_as_partial<T, A>(c + d, lanes);
          const auto mixed =
              mul_add(Vec<T, A>(T(0.5)), sum, load_as_partial<T, A>(residual + d, lanes));
          store_as_partial<A>(y + d, mixed, lanes);
        }
      },
      to, from, own, other);
  normalize<A>(norm, to, to, ctx);
}

}  // namespace weft
