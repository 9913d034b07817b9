#pragma once

#include <weft/core/activation.hpp>
#include <weft/core/row_access.hpp>
#include <weft/core/scratch.hpp>

#include <cmath>
#include <concepts>

/// Feature maps phi: what linear attention does to a query and a key of D channels, which become
/// F features each. The products phi(q) . phi(k) take the place of softmax's exp(q . k).
///
/// A map is a function of a register that is applied to every channel (core/activation.hpp):
/// Identity, EluPlusOne, Relu, ...; or a plain struct with
///
///   Index size(Index dim) const                                             F, given D
///   template <class A, class T> void map(const FeatureRows<T>&, Arena&) const
///
/// which turns rows of channels into rows of features. Both are padded with anything to a multiple
/// of the vector. Data of the caller are checked once by an optional
///   void check(Index batch, Index heads, Index dim) const;
///   void check_positions(Index from, Index to) const;                    of the tokens of a call
/// A map whose features depend on the position of a token reads it in FeatureRows; positions go on
/// over chunks of a stream.
namespace weft {

/// Consecutive tokens of one head on their way to features.
template <class T>
struct FeatureRows {
  const T* from;
  Index from_ld;  ///< between rows, a multiple of the vector
  T* to;
  Index to_ld;
  Index rows, dim;
  Index batch, head;
  Index token;     ///< the first of them among the data of the call
  Index position;  ///< and in its sequence
  bool keys;       ///< or queries
};

namespace detail {

template <class F, class T>
concept MapsRows = requires(const F& f, const FeatureRows<T>& rows, Arena& arena) {
  f.template map<DefaultArch>(rows, arena);
};

/// Maps with data of their own may be made for fp32 or fp64 alone.
template <class F>
concept RowMap = requires(const F& f, Index dim) {
  { f.size(dim) } -> std::same_as<Index>;
  requires MapsRows<F, float> || MapsRows<F, double>;
};

template <class F>
concept ChannelMap = requires(const F& f, Vec<float> x) {
  { f(x) } noexcept -> std::same_as<Vec<float>>;
};

}  // namespace detail

template <class F>
concept FeatureMap = detail::RowMap<F> || detail::ChannelMap<F>;
static_assert(FeatureMap<Identity> && FeatureMap<EluPlusOne>);

namespace detail {

/// F, given D.
template <FeatureMap F>
Index feature_count(const F& feature, Index dim) noexcept {
  if constexpr (RowMap<F>)
    return feature.size(dim);
  else
    return dim;
}

template <class A, FeatureMap F, class T>
void map_features(const F& feature, const FeatureRows<T>& x, Arena& arena) {
  if constexpr (RowMap<F>) {
    feature.template map<A>(x, arena);
  } else {
    for (Index r = 0; r < x.rows; ++r)
      for (Index d = 0; d < x.dim; d += kWidth<T, A>)
        store<A>(x.to + r * x.to_ld + d, feature(load<A>(x.from + r * x.from_ld + d)));
  }
}

/// to = factor x for n numbers, and nothing behind them; to may be x.
template <class A, class T>
void times_row(T factor, const T* x, Index n, T* to) noexcept {
  constexpr Index W = kWidth<T, A>;
  const Vec<T, A> f(factor);
  Index i = 0;
  for (; i + W <= n; i += W) store<A>(to + i, load<A>(x + i) * f);
  if (i < n) store_partial<A>(to + i, load_partial<A>(x + i, n - i) * f, n - i);
}

/// to = factor max(x, 0), likewise.
template <class A, class T>
void relu_row(T factor, const T* x, Index n, T* to) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index i = 0; i < n; i += W) {
    const Index lanes = std::min(W, n - i);
    store_partial<A>(to + i, math::relu(load_partial<A>(x + i, lanes)) * Vec<T, A>(factor), lanes);
  }
}

template <FeatureMap F>
void check_feature(const F& feature, Index batch, Index heads, Index dim) {
  if constexpr (requires { feature.check(batch, heads, dim); }) feature.check(batch, heads, dim);
}

template <FeatureMap F>
void check_feature_positions(const F& feature, Index from, Index to) {
  if constexpr (requires { feature.check_positions(from, to); }) feature.check_positions(from, to);
}

}  // namespace detail

/// phi(x) = x / sqrt(|x|^2 + eps), zero for zero: what the delta rule asks of keys.
struct UnitNorm {
  double eps = 1e-6;

  Index size(Index dim) const noexcept { return dim; }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    constexpr Index W = kWidth<T, A>;
    for (Index r = 0; r < x.rows; ++r) {
      const T* from = x.from + r * x.from_ld;
      Vec<T, A> squares(T(0));
      for (Index d = 0; d < x.dim; d += W) {
        const auto v = d + W <= x.dim ? load<A>(from + d) : load_partial<A>(from + d, x.dim - d);
        squares = mul_add(v, v, squares);
      }
      const Vec<T, A> factor(1 / std::sqrt(detail::sum_lanes(squares) + static_cast<T>(eps)));
      for (Index d = 0; d < x.dim; d += W)
        store<A>(x.to + r * x.to_ld + d, load<A>(from + d) * factor);
    }
  }
};
static_assert(FeatureMap<UnitNorm>);

/// phi = second(first(x)).
template <FeatureMap F, FeatureMap G>
struct Compose {
  F first{};
  G second{};

  Index size(Index dim) const noexcept {
    return detail::feature_count(second, detail::feature_count(first, dim));
  }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    const Arena::Frame frame(arena);
    FeatureRows<T> inner = x, outer = x;
    outer.dim = detail::feature_count(first, x.dim);
    inner.to_ld = outer.from_ld = round_up(outer.dim, kWidth<T, A>);
    outer.from = inner.to = arena.take<T>(x.rows * inner.to_ld);
    detail::map_features<A>(first, inner, arena);
    detail::map_features<A>(second, outer, arena);
  }
  void check(Index batch, Index heads, Index dim) const {
    detail::check_feature(first, batch, heads, dim);
    detail::check_feature(second, batch, heads, detail::feature_count(first, dim));
  }
  void check_positions(Index from, Index to) const {
    detail::check_feature_positions(first, from, to);
    detail::check_feature_positions(second, from, to);
  }
};

}  // namespace weft
