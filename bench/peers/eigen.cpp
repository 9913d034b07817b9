/// Eigen rows: peer/eigen/gemm/... The only source that includes Eigen, so that its functions exist
/// once, with the flags of this program.
#define EIGEN_DONT_PARALLELIZE
#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 warns about its own intrinsics once they are inlined into Eigen's functions.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "support/gemm_cases.hpp"
#include "support/inputs.hpp"

#include <Eigen/Core>

namespace {

using bench::GemmCase;
using bench::Operand;
using bench::Type;
using bench::uniform;

template <class T>
using Matrix = Eigen::Map<Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

template <class T>
void add_product(const GemmCase& g) {
  g.row().by("peer/eigen").add([g] {
    return [g, a = uniform<T>({g.m, g.k}), b = uniform<T>({g.k, g.n}),
            c = uniform<T>({g.m, g.n})]() mutable {
      const Matrix<T> x(a.data(), g.m, g.k);
      if (g.b == Operand::transposed)
        Matrix<T>(c.data(), g.m, g.n).noalias() = x * Matrix<T>(b.data(), g.n, g.k).transpose();
      else
        Matrix<T>(c.data(), g.m, g.n).noalias() = x * Matrix<T>(b.data(), g.k, g.n);
    };
  });
}

/// With the sizes of a vector known at compile time, Eigen takes its matrix-vector path.
void add_matrix_vector(const GemmCase& g) {
  using Vector = Eigen::Map<Eigen::VectorXf>;
  g.row().by("peer/eigen").add([g] {
    return [g, x = uniform<float>({g.k}), w = uniform<float>({g.n, g.k}),
            y = uniform<float>({g.n})]() mutable {
      Vector(y.data(), g.n).noalias() = Matrix<float>(w.data(), g.n, g.k) * Vector(x.data(), g.k);
    };
  });
}

const bench::Rows rows([] {
  for (const GemmCase& g : bench::kGemmCases) {
    if (g.b == Operand::packed) continue;
    if (g.m == 1)
      add_matrix_vector(g);
    else if (g.type == Type::f32)
      add_product<float>(g);
    else if (g.type == Type::f64)
      add_product<double>(g);
  }
});

}  // namespace
