#pragma once

#include <weft/attention/linear/feature.hpp>
#include <weft/core/arguments.hpp>

#include <cstdint>

/// Feature maps around another one:
///
///   KeyLengths{f, lengths}       keys from lengths[b] on weigh nothing
///   ScaledQueries{f, factor}     features of query i times factor[b, h, i]
///   PositionedKeys{f, table}     f of keys plus a learned position
///   Sides{f, g}                  f of queries, g of keys, as many features
namespace weft {

/// Padding: phi(k_j) = 0 for positions j >= lengths[b] of a sequence, lengths [B]. (A key of zeros
/// would not do: elu(0) + 1 = 1.) Values of such keys must be finite. A query without keys gets 0
/// by any denominator with an eps.
template <FeatureMap F>
struct KeyLengths {
  F f;
  View<const std::int32_t, 1> lengths;

  Index size(Index dim) const noexcept { return detail::feature_count(f, dim); }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    detail::map_features<A>(f, x, arena);
    if (!x.keys) return;
    const Index kept = std::max<Index>(0, lengths(x.batch) - x.position);
    for (Index r = kept; r < x.rows; ++r) std::fill_n(x.to + r * x.to_ld, size(x.dim), T(0));
  }
  void check(Index batch, Index heads, Index dim) const {
    require(lengths.extent(0) == batch, "KeyLengths: ", lengths.extent(0), " lengths for ", batch,
            " sequences; give one per sequence");
    detail::check_feature(f, batch, heads, dim);
  }
  void check_positions(Index from, Index to) const { detail::check_feature_positions(f, from, to); }
};
template <class F, class X>
KeyLengths(F, X&&) -> KeyLengths<F>;

/// Features of queries times a number per query, factor [B, H, N]: tokens are those of the call.
template <FeatureMap F, class S = float>
struct ScaledQueries {
  F f;
  View<const S, 3> factor;

  Index size(Index dim) const noexcept { return detail::feature_count(f, dim); }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    detail::map_features<A>(f, x, arena);
    if (x.keys) return;
    for (Index r = 0; r < x.rows; ++r) {
      const auto own = static_cast<T>(factor(x.batch, x.head, x.token + r));
      T* to = x.to + r * x.to_ld;
      detail::times_row<A>(own, to, size(x.dim), to);
    }
  }
  void check(Index batch, Index heads, Index dim) const {
    require(factor.extent(0) == batch && factor.extent(1) == heads, "ScaledQueries: factor is ",
            factor, ", must be [", batch, ", ", heads, ", N]");
    detail::check_feature(f, batch, heads, dim);
  }
  void check_positions(Index from, Index to) const { detail::check_feature_positions(f, from, to); }
};
template <class F, class X>
ScaledQueries(F, X&&) -> ScaledQueries<F, detail::Element<X>>;

/// Keys plus a learned vector of their position before they are mapped, table [H, N, D]: N is the
/// length of the sequence at most.
template <FeatureMap F, class S = float>
struct PositionedKeys {
  F f;
  View<const S, 3> table;

  Index size(Index dim) const noexcept { return detail::feature_count(f, dim); }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    if (!x.keys) return detail::map_features<A>(f, x, arena);
    const Arena::Frame frame(arena);
    FeatureRows<T> moved = x;
    T* sums = arena.take<T>(x.rows * x.from_ld);
    moved.from = sums;
    for (Index r = 0; r < x.rows; ++r) {
      const S* position = table.pointer(x.head, x.position + r);
      for (Index d = 0; d < x.dim; d += kWidth<T, A>) {
        const Index lanes = std::min(kWidth<T, A>, x.dim - d);
        store<A>(sums + r * x.from_ld + d,
                 load<A>(x.from + r * x.from_ld + d) + load_as_partial<T, A>(position + d, lanes));
      }
    }
    detail::map_features<A>(f, moved, arena);
  }
  void check(Index batch, Index heads, Index dim) const {
    require(table.extent(0) == heads && table.extent(2) == dim, "PositionedKeys: table is ", table,
            ", must be [", heads, ", N, ", dim, "]");
    require(table.stride(2) == 1 || dim == 1, "PositionedKeys: the channels must be contiguous");
    detail::check_feature(f, batch, heads, dim);
  }
  void check_positions(Index from, Index to) const {
    require(to <= table.extent(1), "PositionedKeys: ", to, " tokens, the table has ",
            table.extent(1));
    detail::check_feature_positions(f, from, to);
  }
};
template <class F, class X>
PositionedKeys(F, X&&) -> PositionedKeys<F, detail::Element<X>>;

/// One map for queries and another for keys.
template <FeatureMap F, FeatureMap G>
struct Sides {
  F queries;
  G keys;

  Index size(Index dim) const noexcept { return detail::feature_count(queries, dim); }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    if (x.keys)
      detail::map_features<A>(keys, x, arena);
    else
      detail::map_features<A>(queries, x, arena);
  }
  void check(Index batch, Index heads, Index dim) const {
    require(detail::feature_count(queries, dim) == detail::feature_count(keys, dim),
            "Sides: ", detail::feature_count(queries, dim), " features of a query, ",
            detail::feature_count(keys, dim), " of a key; the maps must give as many");
    detail::check_feature(queries, batch, heads, dim);
    detail::check_feature(keys, batch, heads, dim);
  }
  void check_positions(Index from, Index to) const {
    detail::check_feature_positions(queries, from, to);
    detail::check_feature_positions(keys, from, to);
  }
};
template <class F, class G>
Sides(F, G) -> Sides<F, G>;

}  // namespace weft
