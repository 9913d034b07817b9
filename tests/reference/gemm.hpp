#pragma once

#include <cstddef>
#include <vector>

/// C[M, N] = A[M, K] B[K, N] in double precision, one element at a time.
namespace reference {

/// Row-major matrix of doubles.
struct Matrix {
  std::ptrdiff_t rows, cols;
  std::vector<double> values;

  Matrix(std::ptrdiff_t m, std::ptrdiff_t n)
      : rows(m), cols(n), values(static_cast<std::size_t>(m * n)) {}

  double& operator()(std::ptrdiff_t r, std::ptrdiff_t c) {
    return values[static_cast<std::size_t>(r * cols + c)];
  }
  double operator()(std::ptrdiff_t r, std::ptrdiff_t c) const {
    return values[static_cast<std::size_t>(r * cols + c)];
  }
};

inline Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows, b.cols);
  for (std::ptrdiff_t m = 0; m < a.rows; ++m)
    for (std::ptrdiff_t n = 0; n < b.cols; ++n)
      for (std::ptrdiff_t k = 0; k < a.cols; ++k) c(m, n) += a(m, k) * b(k, n);
  return c;
}

}  // namespace reference
