#pragma once

#include <weft/core/tensor.hpp>

#include <cstdint>

/// What the verbs of all mixers ask of their arguments.
namespace weft::detail {

template <class X>
using Element = typename decltype(view_of(std::declval<X&>()))::value_type;

/// Rows of channels that a kernel can read a register at a time.
template <class T, std::size_t Rank>
void require_channels(const View<T, Rank>& view, const char* name) {
  require(view.stride(Rank - 1) == 1 || view.extent(Rank - 1) == 1, name, " has stride ",
          view.stride(Rank - 1), " in its last axis; channels must be contiguous");
  require(view.extent(Rank - 1) >= 1, name, " has no channels");
}

template <std::size_t Rank, class X, class Y>
void require_axis(const View<X, Rank>& a, const char* a_name, const View<Y, Rank>& b,
                  const char* b_name, std::size_t axis, const char* what) {
  require(a.extent(axis) == b.extent(axis), b_name, " ", b, " must have the ", what, " of ", a_name,
          " ", a);
}

/// Prefix sums of the lengths of a ragged batch.
inline void check_prefix_sums(const View<const std::int32_t, 1>& cu, Index total,
                              const char* name) {
  require(cu.extent(0) >= 1 && cu(0) == 0, name, " must begin with 0");
  for (Index b = 1; b < cu.extent(0); ++b)
    require(cu(b - 1) <= cu(b), name, " must not decrease, but entry ", b, " is ", cu(b), " after ",
            cu(b - 1));
  require(cu(cu.extent(0) - 1) == total, name, " ends at ", cu(cu.extent(0) - 1), ", there are ",
          total, " tokens");
}

/// [B, H, D] as [B, H, 1, D].
template <class T>
View<T, 4> one_token(const View<T, 3>& x) {
  return {x.data(),
          {x.extent(0), x.extent(1), 1, x.extent(2)},
          {x.stride(0), x.stride(1), 0, x.stride(2)}};
}

template <class X>
View<const Element<const X>, 4> token_of(const X& x) {
  return one_token(View<const Element<const X>, 3>(view_of(x)));
}

}  // namespace weft::detail
