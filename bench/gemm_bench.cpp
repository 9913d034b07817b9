/// gemm/...: matrix products, and products with one row of A (gemv).
#include "support/gemm_cases.hpp"
#include "support/inputs.hpp"
#include <weft/core/gemm.hpp>

namespace {

using bench::GemmCase;
using bench::Operand;
using bench::Type;
using bench::uniform;

/// B as the row has it in memory, seen as [K, N].
template <class T>
auto right_operand(const GemmCase& g, weft::Tensor<T, 2>& b) {
  return g.b == Operand::transposed ? b.view().transpose(0, 1) : b.view();
}

template <class T>
weft::Tensor<T, 2> right_storage(const GemmCase& g) {
  return g.b == Operand::transposed ? uniform<T>({g.n, g.k}) : uniform<T>({g.k, g.n});
}

/// T: elements of A and B, R: elements of C.
template <class T, class R>
void add_product(const GemmCase& g) {
  g.row().add([g](const weft::Context& context) {
    return
        [g, &context, a = uniform<T>({g.m, g.k}), b = right_storage<T>(g),
         c = uniform<R>({g.m, g.n})]() mutable { weft::gemm(a, right_operand(g, b), c, context); };
  });
}

template <class T, class R>
void add_packed_product(const GemmCase& g) {
  g.row().add([g](const weft::Context& context) {
    return [&context, a = uniform<T>({g.m, g.k}), b = weft::PackedMatrix<T>(uniform<T>({g.k, g.n})),
            c = uniform<R>({g.m, g.n})]() mutable { weft::gemm(a, b, c, context); };
  });
}

template <class T, class R>
void add(const GemmCase& g) {
  g.b == Operand::packed ? add_packed_product<T, R>(g) : add_product<T, R>(g);
}

const bench::Rows rows([] {
  for (const GemmCase& g : bench::kGemmCases) {
    if (g.type == Type::f32) add<float, float>(g);
    if (g.type == Type::f64) add<double, double>(g);
    if (g.type == Type::bf16) add<weft::bf16, float>(g);
  }
});

}  // namespace
