/// softmax/paged/... and softmax/merge/...: decode over pages, beside softmax/full with one query
/// over contiguous memory, and the merge of partial results.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/attention/softmax.hpp>

#include <array>
#include <cstdint>

namespace {

using bench::Floor;
using bench::Index;
using bench::Row;
using bench::uniform;

/// One sequence of `tokens` in blocks that lie scattered over the pool.
void add_paged(Index tokens, Index block) {
  constexpr Index heads = 32, kv_heads = 8, dim = 128;
  const auto name = bench::row_name("softmax/paged/forward/f32", {{"B", 1},
                                                                  {"H", heads},
                                                                  {"Hk", kv_heads},
                                                                  {"N", 1},
                                                                  {"M", tokens},
                                                                  {"D", dim},
                                                                  {"block", block},
                                                                  {"threads", 1}});
  Row{.name = name,
      .flops = 4.0 * static_cast<double>(heads * tokens * dim),
      .bytes = 8.0 * static_cast<double>(kv_heads * tokens * dim),
      .floor = Floor::read}
      .add([=](const weft::Context& context) {
        const Index blocks = tokens / block;
        weft::Tensor<std::int32_t, 2> table({1, blocks});
        // A step that shares no factor with a power of two visits every block.
        for (Index i = 0; i < blocks; ++i) {
          table(0, i) = static_cast<std::int32_t>((i * 37 + 5) % blocks);
        }
        weft::Tensor<std::int32_t, 1> lengths({1});
        lengths(0) = static_cast<std::int32_t>(tokens);
        return [&context, table = std::move(table), lengths = std::move(lengths),
                q = uniform<float>({1, heads, 1, dim}, 1),
                k = uniform<float>({blocks, block, kv_heads, dim}, 2),
                v = uniform<float>({blocks, block, kv_heads, dim}, 3),
                out = uniform<float>({1, heads, 1, dim}, 4)]() mutable {
          const weft::PagedKv<float> pages(k.view(), v.view(), table.view(), lengths.view());
          weft::forward(weft::Softmax(), q, pages, out, context);
        };
      });
}

void add_merge(Index parts, Index queries) {
  constexpr Index heads = 32, dim = 128;
  const auto name = bench::row_name(
      "softmax/merge/forward/f32",
      {{"B", 1}, {"H", heads}, {"N", queries}, {"E", dim}, {"parts", parts}, {"threads", 1}});
  Row{.name = name,
      .bytes = 4.0 * static_cast<double>((parts + 1) * heads * queries * (dim + 1)),
      .floor = Floor::read}
      .add([=] {
        return [out = uniform<float>({1, heads, queries, dim}, 1),
                lse = uniform<float>({1, heads, queries}, 2),
                partial = uniform<float>({parts, 1, heads, queries, dim}, 3),
                sums = uniform<float>({parts, 1, heads, queries}, 4)]() mutable {
          weft::merge_partials(partial, sums, out, lse.view());
        };
      });
}

const bench::Rows rows([] {
  for (const Index block : {16, 64, 256}) add_paged(16384, block);
  add_merge(8, 1);
  add_merge(4, 512);
});

}  // namespace
