/// machine/...: the limits themselves, as rows.
#include "support/machine.hpp"
#include "support/row.hpp"
#include <weft/core/tensor.hpp>

#include <memory>

namespace {

using bench::Burst;
using bench::Floor;
using bench::Index;

void add_compute(const char* name, Floor floor, const Burst& burst) {
  if (burst.work == 0) return;
  bench::Row{.name = name, .flops = burst.work, .floor = floor}.add(
      [run = burst.run] { return [run] { run(0, 1); }; });
}

void add_read(const char* name, Index bytes, int streams) {
  bench::Row{.name = bench::row_name(name, {{"bytes", bytes}, {"streams", streams}}),
             .bytes = static_cast<double>(bytes),
             .floor = Floor::read}
      .add([=] {
        auto buffer = std::make_shared<weft::Tensor<float, 1>>(std::array{bytes / 4});
        return [buffer, burst = bench::read_burst(buffer->span(), streams)] { burst.run(0, 1); };
      });
}

const bench::Rows rows([] {
  add_compute("machine/fma_f32", Floor::fma_f32, bench::fma_burst<float>());
  add_compute("machine/fma_f64", Floor::fma_f64, bench::fma_burst<double>());
  add_compute("machine/dot_bf16", Floor::bf16, bench::dot_bf16_burst());
  add_compute("machine/tile_bf16", Floor::bf16, bench::tile_bf16_burst());
  add_compute("machine/dot_int8", Floor::int8, bench::dot_int8_burst());
  add_compute("machine/tile_int8", Floor::int8, bench::tile_int8_burst());
  // In a second-level cache; the weights of a 4096 x 4096 layer; beyond every cache.
  for (const Index bytes : {Index{1} << 20, Index{1} << 26, Index{1} << 29})
    for (const int streams : {1, 8}) add_read("machine/read_bandwidth", bytes, streams);
});

}  // namespace
