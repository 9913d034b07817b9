/// quant/vector_quantization, quant/codebook_features, quant/multiscale_rvq: searches in codebooks,
/// whose work is counted as that of the products with all codes; quant/product_quantization: scores
/// by tables, `of_plain` compares with products of the decoded vectors.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/quant/codebook.hpp>
#include <weft/quant/multiscale_rvq.hpp>
#include <weft/quant/product_quantizer.hpp>

namespace {

using bench::Index;
using bench::uniform;
using weft::Tensor;

void add_vector_quantizer(Index N, Index K, Index D) {
  bench::Row{.name = bench::row_name("quant/vector_quantization/encode/f32",
                                     {{"N", N}, {"K", K}, {"D", D}}),
             .flops = 2.0 * static_cast<double>(N * K * D)}
      .add([=](const weft::Context& context) {
        return
            [&context, quantizer = weft::quant::VectorQuantizer<float>(uniform<float>({K, D}, 2)),
             x = uniform<float>({N, D}), ids = Tensor<std::int32_t, 1>({N})]() mutable {
              quantizer.encode(x, ids.view(), context);
            };
      });
}

void add_codebook_features() {
  constexpr Index N = 64, K = 10000, D = 512, k = 8;
  bench::Row{.name = bench::row_name("quant/codebook_features/forward/f32",
                                     {{"N", N}, {"K", K}, {"D", D}, {"k", k}}),
             .flops = 2.0 * N * K * D}
      .add([](const weft::Context& context) {
        return [&context,
                layer = weft::quant::CodebookLayer<float>(uniform<float>({1, K, D}, 2),
                                                          uniform<float>({1, D}, 3),
                                                          uniform<float>({1, D}, 4), k),
                x = uniform<float>({N, D}), out = Tensor<float, 2>({N, D}),
                ids = Tensor<std::int32_t, 3>({N, 1, k})]() mutable {
          layer.apply(x, out.view(), ids.view(), context);
        };
      });
}

void add_multiscale() {
  constexpr Index N = 256, K = 1024, D = 64;
  const std::vector<Index> scales{1, 4, 16, 64, 256};
  bench::Row{
      .name = bench::row_name("quant/multiscale_rvq/encode/f32", {{"N", N}, {"K", K}, {"D", D}}),
      .flops = 2.0 * 341 * K * D}
      .add([=](const weft::Context& context) {
        return
            [&context,
             quantizer = weft::quant::MultiscaleQuantizer<float>(uniform<float>({K, D}, 2), scales),
             x = uniform<float>({N, D}), residual = Tensor<float, 2>({N, D}),
             ids = Tensor<std::int32_t, 1>({341})]() mutable {
              quantizer.encode(x, ids.view(), residual.view(), context);
            };
      });
}

void add_product_quantizer(Index N, Index parts, Index part_dim) {
  constexpr Index K = 256;
  const Index D = parts * part_dim;
  bench::Row{.name = bench::row_name("quant/product_quantization/look_up/u8",
                                     {{"N", N}, {"m", parts}, {"D", D}}),
             .bytes = static_cast<double>(N * (parts + 4)),
             .floor = bench::Floor::read}
      .add([=](const weft::Context& context) {
        Tensor<std::uint8_t, 2> codes({N, parts});
        for (Index i = 0; i < codes.size(); ++i)
          codes.data()[i] = static_cast<std::uint8_t>((i * 2654435761) >> 16);
        auto call = [&context, codes = std::move(codes), table = uniform<float>({parts, K}),
                     scores = Tensor<float, 1>({N})]() mutable {
          weft::quant::look_up_scores<float, std::uint8_t>(table, codes, scores.view(), context);
        };
        auto plain = [&context, x = uniform<float>({N, D}), q = uniform<float>({1, D}, 2),
                      scores = Tensor<float, 2>({1, N})]() mutable {
          weft::gemm(q, x.view().transpose(0, 1), scores, context);
        };
        return bench::Versus{std::move(call), std::move(plain)};
      });
}

const bench::Rows rows([] {
  add_vector_quantizer(1024, 1024, 64);
  add_vector_quantizer(1024, 8192, 256);
  add_codebook_features();
  add_multiscale();
  add_product_quantizer(16384, 16, 8);
  add_product_quantizer(16384, 64, 4);
});

}  // namespace
