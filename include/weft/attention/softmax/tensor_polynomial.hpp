#pragma once

#include <weft/attention/softmax/tensor_attention.hpp>
#include <weft/core/gemm.hpp>

#include <vector>

namespace weft {

/// Third-order attention with its exponential replaced by a polynomial (arXiv:2310.04064), in time
/// linear in the numbers of tokens. With c the scale and a = (a_1 .. a_D) the multi-indices of
/// degree |a| <= g, of which there are r = C(D + g, g):
///
///   exp(c sum_d q_d k1_d k2_d)  ~  sum_a c^|a| / (a_1! .. a_D!)  q^a k1^a k2^a
///   out = U1 ((U2^T v1) * (U3^T v2)) / (U1 ((U2^T 1) * (U3^T 1)))
///
/// U1 [N, r] holds the coefficients times q^a, U2 and U3 the powers of k1 and k2. The coefficients
/// are Taylor's (our choice: the paper relies on a polynomial of lower degree for the same error;
/// the factors are the same for any). It comes close to the exact form where |s| is below about
/// g / 2; a polynomial of odd degree can make the denominator vanish or negative.
///
/// Shapes and element types as for TensorAttention. Throws where shapes disagree, the degree is
/// negative or r exceeds 2^20. Time O(B H (N + N1 + N2) r E), scratch memory (N + N1 + N2 + 3 E) r
/// numbers.
struct TensorPolynomial {
  Index degree;      ///< g >= 0
  double scale = 0;  ///< 0 means 1 / D
};

namespace detail {

/// q^a as an earlier monomial times one more channel.
struct Monomial {
  Index parent, channel;
  double coefficient;  ///< c^|a| / a!
};

/// All monomials of degree <= g in D channels; the first is 1. Channels of a product do not
/// descend, so that each comes once.
inline std::vector<Monomial> monomials(Index channels, Index degree, double scale) {
  require(degree >= 0, "TensorPolynomial: degree is ", degree, ", wanted 0 or more");
  std::vector<Monomial> all{{0, 0, 1.0}};
  std::vector<Index> repeats{0};  // of the last channel
  std::size_t begin = 0;
  for (Index g = 0; g < degree; ++g) {
    const std::size_t end = all.size();
    for (std::size_t m = begin; m < end; ++m)
      for (Index c = g == 0 ? 0 : all[m].channel; c < channels; ++c) {
        const Index times = g > 0 && c == all[m].channel ? repeats[m] + 1 : 1;
        all.push_back(
            {static_cast<Index>(m), c, all[m].coefficient * scale / static_cast<double>(times)});
        repeats.push_back(times);
      }
    begin = end;
    require(all.size() <= std::size_t{1} << 20, "TensorPolynomial: degree ", degree, " of ",
            channels, " channels has more than 2^20 features");
  }
  return all;
}

/// The monomials of all rows of x [n, D], one after the other: powers [r, n]. So each is one
/// product of two contiguous rows.
template <class T>
void put_powers(const std::vector<Monomial>& all, const View<const T, 2>& x,
                const View<T, 2>& powers, Arena& arena) {
  const Index n = x.extent(0);
  const Arena::Frame frame(arena);
  const View<T, 2> columns(arena.take<T>(n * x.extent(1)), {x.extent(1), n});
  for (Index i = 0; i < n; ++i)
    for (Index d = 0; d < x.extent(1); ++d) columns(d, i) = x(i, d);
  std::fill_n(powers.data(), n, T(1));
  for (std::size_t m = 1; m < all.size(); ++m) {
    const T* parent = powers.pointer(all[m].parent);
    const T* channel = columns.pointer(all[m].channel);
    T* to = powers.pointer(static_cast<Index>(m));
    for (Index i = 0; i < n; ++i) to[i] = parent[i] * channel[i];
  }
}

/// sums [r, E + 1] = powers(k) [v, 1] of one head.
template <class A, class T>
void sum_powers(const std::vector<Monomial>& all, const View<const T, 2>& k,
                const View<const T, 2>& v, const View<T, 2>& sums, const Context& ctx) {
  const Index n = k.extent(0), E = v.extent(1);
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> powers(ctx.arena().template take<T>(n * sums.extent(0)), {sums.extent(0), n});
  const View<T, 2> values(ctx.arena().template take<T>(n * (E + 1)), {n, E + 1});
  put_powers<T>(all, k, powers, ctx.arena());
  for (Index i = 0; i < n; ++i) {
    std::copy_n(v.pointer(i), E, values.pointer(i));
    values(i, E) = T(1);
  }
  gemm<A>(powers, values, sums, ctx);
}

/// sums [r, E + 1] *= second * coefficient, row by row.
template <class T>
void multiply_sums(const std::vector<Monomial>& all, const View<T, 2>& sums,
                   const View<T, 2>& second) {
  for (std::size_t m = 0; m < all.size(); ++m) {
    const auto row = static_cast<Index>(m);
    const T coefficient = static_cast<T>(all[m].coefficient);
    for (Index e = 0; e < sums.extent(1); ++e) sums(row, e) *= second(row, e) * coefficient;
  }
}

}  // namespace detail

/// Features of the polynomial: r = C(D + g, g).
inline Index tensor_polynomial_features(Index channels, Index degree) {
  return static_cast<Index>(detail::monomials(channels, degree, 1).size());
}

template <class A = DefaultArch, class T>
void forward(const TensorPolynomial& mixer, View<const T, 4> q,
             std::type_identity_t<View<const T, 4>> k1, std::type_identity_t<View<const T, 4>> k2,
             std::type_identity_t<View<const T, 4>> v1, std::type_identity_t<View<const T, 4>> v2,
             std::type_identity_t<View<T, 4>> out, const Context& ctx = Context()) {
  detail::check_tensor_attention<T>(q, k1, k2, v1, v2, out);
  const Index N = q.extent(2), E = out.extent(3);
  const auto all = detail::monomials(q.extent(3), mixer.degree,
                                     detail::tensor_scale({mixer.scale}, q.extent(3)));
  const auto r = static_cast<Index>(all.size());
  const Arena::Frame frame(ctx.arena());
  const auto scratch = [&](Index rows, Index columns) {
    return View<T, 2>(ctx.arena().template take<T>(rows * columns), {rows, columns});
  };
  const auto powers = scratch(r, N), sums = scratch(r, E + 1), second = scratch(r, E + 1);
  const auto result = scratch(N, E + 1);
  for (Index b = 0; b < q.extent(0); ++b)
    for (Index h = 0; h < q.extent(1); ++h) {
      const auto head = [&](const auto& x) { return x.select(0, b).select(0, h); };
      detail::put_powers<T>(all, head(q), powers, ctx.arena());
      detail::sum_powers<A, T>(all, head(k1), head(v1), sums, ctx);
      detail::sum_powers<A, T>(all, head(k2), head(v2), second, ctx);
      detail::multiply_sums<T>(all, sums, second);
      gemm<A>(powers.transpose(0, 1), sums, result, ctx);
      for (Index i = 0; i < N; ++i)
        for (Index e = 0; e < E; ++e) out(b, h, i, e) = result(i, e) / result(i, E);
    }
}

}  // namespace weft
