/// layer/gelu_table: an activation by table, beside the same by polynomials (layer/gelu_erf).
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/core/activation.hpp>
#include <weft/layer/gelu_table.hpp>

namespace {

using bench::Index;

constexpr Index kSize = 16384;  // in and out stay in L2

template <class F>
void add(const char* name) {
  bench::Row{.name = bench::row_name(std::string("layer/") + name + "/forward/f32", {{"n", kSize}}),
             .bytes = 8.0 * kSize,
             .floor = bench::Floor::read}
      .add([](const weft::Context&) {
        return [x = bench::uniform<float>({kSize}), y = weft::Tensor<float, 1>({kSize})]() mutable {
          for (Index i = 0; i < kSize; i += weft::kWidth<float>)
            weft::store<weft::DefaultArch>(y.data() + i,
                                           F{}(weft::load<weft::DefaultArch>(x.data() + i)));
        };
      });
}

const bench::Rows rows([] {
  add<weft::GeluTable>("gelu_table");
  add<weft::GeluErf>("gelu_erf");
});

}  // namespace
