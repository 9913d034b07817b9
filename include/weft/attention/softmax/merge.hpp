#pragma once

#include <weft/core/dtype.hpp>
#include <weft/core/tensor.hpp>

#include <cmath>
#include <limits>

namespace weft {

/// Merges attention over disjoint sets of keys (ring attention, arXiv:2310.01889; split-KV
/// decoding):
///
///   L = ln sum_p exp(lse_p),    out = sum_p exp(lse_p - L) out_p
///
/// parts [P, B, H, N, E] and sums [P, B, H, N] are what forward_with_lse gave for each set; out and
/// lse are those of all keys together, exactly up to rounding. Empty sets (lse = -inf) are neutral,
/// parts are taken in order. Apply sinks and gates afterwards. Throws when shapes differ.
template <class X, ViewLike<5> Parts, ViewLike<4> Sums, ViewLike<4> Out>
void merge_partials(const Parts& parts, const Sums& sums, Out&& out, View<X, 3> lse) {
  using T = std::remove_const_t<X>;
  const View<const T, 5> from = view_of(parts);
  const View<const T, 4> from_lse = view_of(sums);
  const View<T, 4> to = view_of(out);
  for (std::size_t axis = 0; axis < 4; ++axis) {
    require(from.extent(axis) == from_lse.extent(axis), "parts ", from, " and sums ", from_lse,
            " must agree");
    require(from.extent(axis + 1) == to.extent(axis), "parts ", from, " and out ", to,
            " must agree");
    require(axis == 3 || lse.extent(axis) == to.extent(axis), "lse ", lse, " and out ", to,
            " must agree");
  }
  const Index P = from.extent(0), E = from.extent(4);
  constexpr T none = -std::numeric_limits<T>::infinity();
  for (Index b = 0; b < to.extent(0); ++b)
    for (Index h = 0; h < to.extent(1); ++h)
      for (Index i = 0; i < to.extent(2); ++i) {
        T top = none, total = T(0);
        for (Index p = 0; p < P; ++p) top = std::max(top, from_lse(p, b, h, i));
        for (Index e = 0; e < E; ++e) to(b, h, i, e) = T(0);
        for (Index p = 0; p < P; ++p) {
          if (from_lse(p, b, h, i) == none) continue;
          const T weight = std::exp(from_lse(p, b, h, i) - top);
          total += weight;
          for (Index e = 0; e < E; ++e) to(b, h, i, e) += weight * from(p, b, h, i, e);
        }
        for (Index e = 0; e < E && total != T(0); ++e) to(b, h, i, e) /= total;
        lse(b, h, i) = total == T(0) ? none : top + std::log(total);
      }
}

}  // namespace weft
