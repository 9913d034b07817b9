/// quant/w8a8: a linear layer with fixed ranges on 8-bit integers; `of_plain` compares with fp32.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/core/gemm.hpp>
#include <weft/quant/w8a8.hpp>

namespace {

using bench::Index;
using bench::uniform;
using weft::Tensor;

const bench::Rows rows([] {
  constexpr Index M = 256, N = 1024, K = 1024;
  bench::Row{.name = bench::row_name("quant/w8a8/forward/f32", {{"M", M}, {"N", N}, {"K", K}}),
             .flops = 2.0 * M * N * K}
      .add([](const weft::Context& context) {
        const auto weight = uniform<float>({N, K}, 2);
        auto x = uniform<float>({M, K}, 3);
        weft::quant::RunningRange range;
        range.add<float>(x);
        auto op = weft::quant::w8a8_operator(weight, {}, weft::quant::weight_grid<float>(weight),
                                             range.grid());
        auto call = [&context, op = std::move(op), x = x.clone(),
                     y = Tensor<float, 2>({M, N})]() mutable {
          op.apply(x.view(), y.view(), context);
        };
        auto plain = [&context, w = weft::PackedMatrix<float>(weight.view().transpose(0, 1)),
                      x = x.clone(),
                      y = Tensor<float, 2>({M, N})]() mutable { weft::gemm(x, w, y, context); };
        return bench::Versus{std::move(call), std::move(plain)};
      });
});

}  // namespace
