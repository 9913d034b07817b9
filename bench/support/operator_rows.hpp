#pragma once

#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/layer/operator.hpp>

#include <string>

/// Linear operators of few bits beside the dense fp32 operator of the same size (counter of_plain).
namespace bench {

/// One operator on x [M, K], beside the dense fp32 one.
template <class X, class Op>
struct OperatorRow {
  weft::Tensor<X, 2> x;
  weft::Tensor<float, 2> y, dense_x;
  Op op;
  weft::DenseOperator<float> dense;
  const weft::Context& context;

  void operator()() { op.apply(x.view(), y.view(), context); }
  void add_counters(benchmark::State& state) {
    auto plain = [this] { dense.apply(dense_x.view(), y.view(), context); };
    const auto [own, other] = bench::least_seconds(*this, plain, 1, 3);
    state.counters["of_plain"] = own / other;
  }
};

/// Rows quant/<name>/forward/<type> for 1, 32 and 512 rows of X, of the operator make(W); `bits`
/// per weight are what one row must read.
template <class X, class Make>
void add_operator(const char* name, const char* type, Floor floor, double bits, Make make) {
  constexpr Index N = 4096, K = 4096;
  for (const Index M : {Index{1}, Index{32}, Index{512}})
    bench::Row{.name = bench::row_name(std::string("quant/") + name + "/forward/" + type,
                                       {{"M", M}, {"N", N}, {"K", K}}),
               .flops = 2. * static_cast<double>(M * N * K),
               .bytes = static_cast<double>(N * K) * bits / 8,
               .floor = M == 1 ? Floor::read : floor}
        .add([M, make](const weft::Context& context) {
          const auto w = uniform<float>({N, K});
          using Op = decltype(make(w));
          return OperatorRow<X, Op>{uniform<X>({M, K}),
                                    weft::Tensor<float, 2>({M, N}),
                                    uniform<float>({M, K}),
                                    make(w),
                                    weft::DenseOperator<float>(w.view()),
                                    context};
        });
}

}  // namespace bench
