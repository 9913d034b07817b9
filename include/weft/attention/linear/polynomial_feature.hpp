#pragma once

#include <weft/attention/linear/feature.hpp>
#include <weft/core/reduce.hpp>
#include <weft/core/view.hpp>

/// Feature maps whose products are polynomials of s = q . k, or of pairs of channels:
///
///   Taylor       phi(q) . phi(k) = 1 + t + t^2 / 2,  t = s / sqrt(D)
///                  whole     F = 1 + D + D^2:          [1, x / D^(1/4), x_a x_b / sqrt(2 D)]
///                  compact   F = 1 + D + D (D + 1) / 2, pairs a < b once, times sqrt(2)
///                (Simple linear attention language models balance the recall-throughput tradeoff,
///                arXiv:2402.18668; the compact form is that of flash-linear-attention). At least
///                1 / 2, and close to exp(t) for small t.
///   ReBased      phi(q) . phi(k) = (g(q) . g(k))^2 / D,  g = LayerNorm(x) gamma + beta,
///                F = D (D + 1) / 2 (Linear Transformers with Learnable Kernel Functions are Better
///                In-Context Models, arXiv:2402.10644)
///   Polynomial   phi(q) . phi(k) = s^p, F = (D + p - 1 over p) monomials
///   Dpfp         phi = [z roll(z, 1), ..., z roll(z, nu)],  z = [relu(x), relu(-x)], F = 2 D nu
///                (Linear Transformers Are Secretly Fast Weight Programmers, arXiv:2102.11174)
///
/// F grows fast: they are made for D of about 16, with a projection to it before. Features exist
/// for one chunk of tokens at a time.
///
///   LinearAttention{Taylor{}, NoDecay{}, Additive{}, PlusEpsilon{1e-12}}
namespace weft {

namespace detail {

/// Products x_a x_b: D squares times `square`, then pairs a < b, row by row, times `pair`.
template <class A, class T>
void pairs_of_row(const T* x, Index dim, T square, T pair, T* to) noexcept {
  constexpr Index W = kWidth<T, A>;
  for (Index d = 0; d < dim; d += W) {
    const Index lanes = std::min(W, dim - d);
    const auto v = load_partial<A>(x + d, lanes);
    store_partial<A>(to + d, v * v * Vec<T, A>(square), lanes);
  }
  to += dim;
  for (Index a = 0; a + 1 < dim; ++a) {
    times_row<A>(pair * x[a], x + a + 1, dim - a - 1, to);
    to += dim - a - 1;
  }
}

inline Index pairs(Index dim) noexcept { return dim * (dim + 1) / 2; }

}  // namespace detail

/// The Taylor series of exp(q . k / sqrt(D)) to second order.
struct Taylor {
  bool compact = true;

  Index size(Index dim) const noexcept {
    return 1 + dim + (compact ? detail::pairs(dim) : dim * dim);
  }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    const double D = static_cast<double>(x.dim);
    const T first = static_cast<T>(std::pow(D, -0.25)), square = static_cast<T>(std::sqrt(0.5 / D));
    for (Index r = 0; r < x.rows; ++r) {
      const T* from = x.from + r * x.from_ld;
      T* to = x.to + r * x.to_ld;
      to[0] = 1;
      detail::times_row<A>(first, from, x.dim, to + 1);
      to += 1 + x.dim;
      if (compact)
        detail::pairs_of_row<A>(from, x.dim, square, static_cast<T>(std::sqrt(1 / D)), to);
      else
        for (Index a = 0; a < x.dim; ++a)
          detail::times_row<A>(square * from[a], from, x.dim, to + a * x.dim);
    }
  }
};
static_assert(FeatureMap<Taylor>);

/// Squares of products of normalised channels; gamma and beta [D], of the type of the arithmetic.
template <class T = float>
struct ReBased {
  View<const T, 1> gamma, beta;
  T eps = static_cast<T>(1e-5);  ///< of the LayerNorm

  Index size(Index dim) const noexcept { return detail::pairs(dim); }
  template <class A>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    const Arena::Frame frame(arena);
    T* g = arena.take<T>(x.dim);
    const T square = static_cast<T>(1 / std::sqrt(static_cast<double>(x.dim)));
    const T pair = static_cast<T>(std::sqrt(2 / static_cast<double>(x.dim)));
    for (Index r = 0; r < x.rows; ++r) {
      normalize_row<A>(x.from + r * x.from_ld, x.dim, g);
      detail::pairs_of_row<A>(g, x.dim, square, pair, x.to + r * x.to_ld);
    }
  }
  void check(Index, Index, Index dim) const {
    require(gamma.extent(0) == dim && beta.extent(0) == dim, "ReBased: gamma has ", gamma.extent(0),
            " and beta ", beta.extent(0), " channels for a head size of ", dim);
    require(dim == 1 || (gamma.stride(0) == 1 && beta.stride(0) == 1),
            "ReBased: gamma and beta must be contiguous");
  }

 private:
  template <class A>
  void normalize_row(const T* x, Index n, T* to) const noexcept {
    constexpr Index W = kWidth<T, A>;
    const auto [mean, variance] = row_mean_variance<A>(x, n);
    const Vec<T, A> centre(mean), factor(1 / std::sqrt(variance + eps));
    for (Index d = 0; d < n; d += W) {
      const Index lanes = std::min(W, n - d);
      const auto v = (load_partial<A>(x + d, lanes) - centre) * factor;
      store_partial<A>(to + d,
                       mul_add(v, load_partial<A>(gamma.data() + d, lanes),
                               load_partial<A>(beta.data() + d, lanes)),
                       lanes);
    }
  }
};
static_assert(FeatureMap<ReBased<>>);

/// Monomials of a degree, each as often as its square comes in (q . k)^p. Those of degree p are
///
///   M_p = [x_0 M_{p-1}, x_1 (M_{p-1} without x_0), x_2 (M_{p-1} without x_0, x_1), ...]
///
/// and what has no x_0 .. x_{a-1} is the end of M_{p-1}.
struct Polynomial {
  int degree = 2;  ///< >= 1

  Index size(Index dim) const noexcept { return count(degree, dim); }

  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    const Arena::Frame frame(arena);
    const Index F = size(x.dim);
    T* roots = arena.take<T>(F);
    T* lower = arena.take<T>(F);
    T* upper = arena.take<T>(F);
    fill_roots(x.dim, roots, arena);
    for (Index r = 0; r < x.rows; ++r) {
      const T* from = x.from + r * x.from_ld;
      std::copy_n(from, x.dim, upper);
      for (int p = 2; p <= degree; ++p) {
        std::swap(lower, upper);
        raise<A>(p, from, x.dim, lower, upper);
      }
      T* to = x.to + r * x.to_ld;
      for (Index f = 0; f < F; f += kWidth<T, A>) {
        const Index lanes = std::min(kWidth<T, A>, F - f);
        store_partial<A>(
            to + f, load_partial<A>(upper + f, lanes) * load_partial<A>(roots + f, lanes), lanes);
      }
    }
  }
  void check(Index, Index, Index) const {
    require(degree >= 1, "Polynomial: degree is ", degree, ", must be at least 1");
  }

 private:
  /// Monomials of degree p in n variables.
  static Index count(int p, Index n) noexcept {
    Index c = 1;
    for (Index i = 1; i <= p; ++i) c = c * (n + i - 1) / i;
    return c;
  }

  /// M_p from M_{p-1}.
  template <class A, class T>
  static void raise(int p, const T* x, Index dim, const T* lower, T* upper) noexcept {
    const Index all = count(p - 1, dim);
    for (Index a = 0; a < dim; ++a) {
      const Index n = count(p - 1, dim - a);
      detail::times_row<A>(x[a], lower + all - n, n, upper);
      upper += n;
    }
  }

  /// Roots of how many orders the factors of each monomial have: p! / prod m_i!.
  template <class T>
  void fill_roots(Index dim, T* roots, Arena& arena) const {
    const Index F = size(dim);
    Index* runs = arena.take<Index>(2 * F);  // how often the first factor comes
    double* orders = arena.take<double>(2 * F);
    Index *run = runs, *next_run = runs + F;
    double *order = orders, *next_order = orders + F;
    std::fill_n(run, dim, Index{1});
    std::fill_n(order, dim, 1.0);
    for (int p = 2; p <= degree; ++p) {
      const Index all = count(p - 1, dim);
      Index to = 0;
      for (Index a = 0; a < dim; ++a) {
        const Index first = all - count(p - 1, dim - a);
        const Index without = a + 1 < dim ? all - count(p - 1, dim - a - 1) : all;
        for (Index f = first; f < all; ++f, ++to) {
          next_run[to] = f < without ? run[f] + 1 : 1;
          next_order[to] = order[f] * p / static_cast<double>(next_run[to]);
        }
      }
      std::swap(run, next_run);
      std::swap(order, next_order);
    }
    for (Index f = 0; f < F; ++f) roots[f] = static_cast<T>(std::sqrt(order[f]));
  }
};
static_assert(FeatureMap<Polynomial>);

/// The deterministic parameter-free projection.
struct Dpfp {
  Index nu = 1;                  ///< rolls, >= 1
  bool second_negative = false;  ///< z = [relu(x), -relu(x)], as flash-linear-attention has it

  Index size(Index dim) const noexcept { return 2 * dim * nu; }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena& arena) const {
    constexpr Index W = kWidth<T, A>;
    const Arena::Frame frame(arena);
    const Index n = 2 * x.dim;
    T* twice = arena.take<T>(2 * n);  // z z, so that a roll is a shift of where to read
    for (Index r = 0; r < x.rows; ++r) {
      fill_signs<A>(x.from + r * x.from_ld, x.dim, twice + n);
      std::copy_n(twice + n, n, twice);
      T* to = x.to + r * x.to_ld;
      for (Index j = 1; j <= nu; ++j, to += n)
        for (Index i = 0; i < n; i += W) {
          const Index lanes = std::min(W, n - i);
          const auto rolled = load_partial<A>(twice + n - j % n + i, lanes);
          store_partial<A>(to + i, load_partial<A>(twice + n + i, lanes) * rolled, lanes);
        }
    }
  }
  void check(Index, Index, Index) const {
    require(nu >= 1, "Dpfp: nu is ", nu, ", must be at least 1");
  }

 private:
  template <class A, class T>
  void fill_signs(const T* x, Index dim, T* z) const noexcept {
    detail::relu_row<A>(T(1), x, dim, z);
    if (second_negative) return detail::times_row<A>(T(-1), z, dim, z + dim);
    detail::times_row<A>(T(-1), x, dim, z + dim);
    detail::relu_row<A>(T(1), z + dim, dim, z + dim);
  }
};
static_assert(FeatureMap<Dpfp>);

}  // namespace weft
