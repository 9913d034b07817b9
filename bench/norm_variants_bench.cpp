/// layer/...: norms with a gain, and with a scale and shift per batch element, beside
/// layer/layer_norm.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/layer/norm.hpp>

namespace {

using bench::Index;
using bench::uniform;

constexpr Index kRows = 256, kChannels = 512;

bench::Row row(const char* variant) {
  return {.name = bench::row_name(std::string("layer/") + variant + "/forward/f32",
                                  {{"rows", kRows}, {"cols", kChannels}}),
          .bytes = 8.0 * kRows * kChannels,
          .floor = bench::Floor::read};
}

const bench::Rows rows([] {
  row("layer_norm_scaling").add([](const weft::Context& context) {
    return [&context, x = uniform<float>({kRows, kChannels}, 1),
            y = uniform<float>({kRows, kChannels}, 2)]() mutable {
      weft::normalize(weft::LayerNorm<>{.gain = 0.5f}, x, y, context);
    };
  });
  row("adaptive_norm").add([](const weft::Context& context) {
    return [&context, x = uniform<float>({1, kRows, kChannels}, 1),
            y = uniform<float>({1, kRows, kChannels}, 2), scale = uniform<float>({1, kChannels}, 3),
            shift = uniform<float>({1, kChannels}, 4)]() mutable {
      weft::modulate(weft::LayerNorm<>{}, x, scale.view(), shift.view(), y, context);
    };
  });
});

}  // namespace
