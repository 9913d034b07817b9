/// OpenBLAS rows: peer/openblas/gemm/... Plain and transposed operands; it has no prepacked ones.
#include "support/gemm_cases.hpp"
#include "support/inputs.hpp"

#include <cblas.h>

namespace {

using bench::GemmCase;
using bench::Operand;
using bench::Type;
using bench::uniform;

blasint size(weft::Index n) { return static_cast<blasint>(n); }

void multiply(CBLAS_TRANSPOSE trans, const GemmCase& g, const float* a, const float* b, float* c) {
  const blasint ldb = size(trans == CblasTrans ? g.k : g.n);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, trans, size(g.m), size(g.n), size(g.k), 1.f, a,
              size(g.k), b, ldb, 0.f, c, size(g.n));
}
void multiply(CBLAS_TRANSPOSE trans, const GemmCase& g, const double* a, const double* b,
              double* c) {
  const blasint ldb = size(trans == CblasTrans ? g.k : g.n);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, trans, size(g.m), size(g.n), size(g.k), 1., a, size(g.k),
              b, ldb, 0., c, size(g.n));
}

template <class T>
void add_product(const GemmCase& g) {
  const auto trans = g.b == Operand::transposed ? CblasTrans : CblasNoTrans;
  g.row().by("peer/openblas").add([g, trans] {
    return [g, trans, a = uniform<T>({g.m, g.k}), b = uniform<T>({g.k, g.n}),
            c = uniform<T>({g.m, g.n})]() mutable {
      multiply(trans, g, a.data(), b.data(), c.data());
    };
  });
}

void add_matrix_vector(const GemmCase& g) {
  g.row().by("peer/openblas").add([g] {
    return [g, x = uniform<float>({g.k}), w = uniform<float>({g.n, g.k}),
            y = uniform<float>({g.n})]() mutable {
      cblas_sgemv(CblasRowMajor, CblasNoTrans, size(g.n), size(g.k), 1.f, w.data(), size(g.k),
                  x.data(), 1, 0.f, y.data(), 1);
    };
  });
}

const bench::Rows rows([] {
  openblas_set_num_threads(1);
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
