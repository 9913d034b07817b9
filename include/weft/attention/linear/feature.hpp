#pragma once

#include <weft/core/activation.hpp>
#include <weft/core/row_access.hpp>
#include <weft/core/scratch.hpp>

#include <cmath>
#include <concepts>

/// Feature maps phi: what linear attention does to a query and a key of D channels, which become
/// F features each. The products phi(q) . phi(k) take the place of softmax's exp(q . k).
///
/// A map is a plain struct with
///
///   Index size(Index dim) const                                             F, given D
///   template <class A, class T> void map(const FeatureRows<T>&, Arena&) const
///
/// which turns rows of channels into rows of features. Both are padded with anything to a multiple
/// of the vector. Data of the caller are checked once by an optional
///   void check(Index batch, Index heads, Index dim) const;
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

}  // namespace detail

/// Maps with data of their own may be made for fp32 or fp64 alone.
template <class F>
concept FeatureMap = (detail::MapsRows<F, float> || detail::MapsRows<F, double>)&&  //
    requires(const F& f, Index dim) {
      { f.size(dim) } -> std::same_as<Index>;
    };

/// phi(x) = x.
struct Identity {
  Index size(Index dim) const noexcept { return dim; }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    for (Index r = 0; r < x.rows; ++r)
      std::copy_n(x.from + r * x.from_ld, x.dim, x.to + r * x.to_ld);
  }
};
static_assert(FeatureMap<Identity>);

/// phi(x) = f(x) for every channel; `f` is a function of a register.
template <class F>
struct Elementwise {
  F f{};

  Index size(Index dim) const noexcept { return dim; }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    for (Index r = 0; r < x.rows; ++r)
      for (Index d = 0; d < x.dim; d += kWidth<T, A>)
        store<A>(x.to + r * x.to_ld + d, f(load<A>(x.from + r * x.from_ld + d)));
  }
};

namespace detail {

/// The optional check of a map.
template <class F>
void check_feature(const F& f, Index batch, Index heads, Index dim) {
  if constexpr (requires { f.check(batch, heads, dim); }) f.check(batch, heads, dim);
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

template <class V>
V elu(const V& x) noexcept {
  const V zero(0), one(1);
  return xsimd::select(x > zero, x, math::exp(xsimd::min(x, zero)) - one);
}

/// exp(x) for x <= 0 rather than elu(x) + 1, which rounds small features away.
struct EluPlusOneOf {
  template <class V>
  V operator()(const V& x) const noexcept {
    const V zero(0), one(1);
    return xsimd::select(x > zero, x + one, math::exp(xsimd::select(x > zero, zero, x)));
  }
};

struct EluOf {
  template <class V>
  V operator()(const V& x) const noexcept {
    return elu(x);
  }
};

}  // namespace detail

/// phi(x) = elu(x) + 1: x + 1 for x > 0, else exp(x) (arXiv:2006.16236).
using EluPlusOne = Elementwise<detail::EluPlusOneOf>;
/// phi(x) = elu(x), which may be negative (TransNormer's first kind, arXiv:2210.10340).
using Elu = Elementwise<detail::EluOf>;
/// phi(x) = max(x, 0).
using ReluFeatures = Elementwise<Relu>;
/// phi(x) = 1 / (1 + exp(-x)).
using SigmoidFeatures = Elementwise<Sigmoid>;

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

  Index size(Index dim) const noexcept { return second.size(first.size(dim)); }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    const Arena::Frame frame(arena);
    FeatureRows<T> inner = x;
    inner.to_ld = round_up(first.size(x.dim), kWidth<T, A>);
    inner.to = arena.take<T>(x.rows * inner.to_ld);
    first.template map<A>(inner, arena);
    FeatureRows<T> outer = x;
    outer.from = inner.to;
    outer.from_ld = inner.to_ld;
    outer.dim = first.size(x.dim);
    second.template map<A>(outer, arena);
  }
  void check(Index batch, Index heads, Index dim) const {
    detail::check_feature(first, batch, heads, dim);
    detail::check_feature(second, batch, heads, first.size(dim));
  }
};

}  // namespace weft
