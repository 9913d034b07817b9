#pragma once

#include <weft/core/check.hpp>
#include <weft/core/random.hpp>
#include <weft/core/tensor.hpp>

#include <cmath>

namespace weft {

/// Lengths of the rows of a random projection.
enum class FeatureLengths {
  chi,   ///< that of a row of D normal numbers of its own
  root,  ///< sqrt(D)
};

/// Random projection W [m, D] of Performer (Rethinking Attention with Performers,
/// arXiv:2009.14794), "Gaussian orthogonal": blocks of D rows, the last one of what is left, each
/// the rows of a random rotation of R^D, stretched to `lengths`. Every row is distributed as D
/// normal numbers, but those of a block are orthogonal, which lowers the variance of the kernel's
/// estimate.
///
/// Numbers come from Philox(seed), sums are in fp64. O(m D^2) operations. Throws unless m and D are
/// positive.
inline Tensor<float, 2> orthogonal_projection(Index features, Index dim, std::uint64_t seed,
                                              FeatureLengths lengths = FeatureLengths::chi);

/// W of independent normal numbers.
inline Tensor<float, 2> gaussian_projection(Index features, Index dim, std::uint64_t seed) {
  require(features >= 1 && dim >= 1, "gaussian_projection: [", features, ", ", dim,
          "] features; both must be positive");
  Tensor<float, 2> w({features, dim});
  Philox(seed).normal(w.span());
  return w;
}

namespace detail {

inline double inner_product(const double* a, const double* b, Index n) noexcept {
  double sum = 0;
  for (Index d = 0; d < n; ++d) sum += a[d] * b[d];
  return sum;
}

/// Row i becomes orthogonal to the rows before it and of length one. Twice is enough: what the
/// first pass leaves of them is rounding, and the second removes that.
inline void orthogonalize(Tensor<double, 2>& rows, Index i) noexcept {
  const Index n = rows.extent(1);
  double* x = &rows(i, 0);
  for (int pass = 0; pass < 2; ++pass)
    for (Index j = 0; j < i; ++j) {
      const double* y = &rows(j, 0);
      const double along = inner_product(x, y, n);
      for (Index d = 0; d < n; ++d) x[d] -= along * y[d];
    }
  const double factor = 1 / std::sqrt(inner_product(x, x, n));
  for (Index d = 0; d < n; ++d) x[d] *= factor;
}

}  // namespace detail

inline Tensor<float, 2> orthogonal_projection(Index features, Index dim, std::uint64_t seed,
                                              FeatureLengths lengths) {
  Tensor<float, 2> w = gaussian_projection(features, dim, seed), other({1, dim});
  Philox of_lengths(seed, 1);
  Tensor<double, 2> block({std::min(features, dim), dim});
  for (Index f = 0; f < features; ++f) {
    const Index i = f % dim;
    for (Index d = 0; d < dim; ++d) block(i, d) = double{w(f, d)};
    detail::orthogonalize(block, i);
    double length = std::sqrt(static_cast<double>(dim));
    if (lengths == FeatureLengths::chi) {
      double squares = 0;
      of_lengths.normal(other.span());
      for (const float x : other.span()) squares += double{x} * double{x};
      length = std::sqrt(squares);
    }
    for (Index d = 0; d < dim; ++d) w(f, d) = static_cast<float>(length * block(i, d));
  }
  return w;
}

}  // namespace weft
