/// softmax/kmeans, softmax/categorical: attention by argmax at one size each. The unit of the first
/// is that of the logits, 2 D per pair; the second compares integers, so it has none.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/attention/softmax/categorical.hpp>
#include <weft/attention/softmax/kmeans.hpp>

namespace {

using bench::Index;
using bench::uniform;
using weft::Tensor;

constexpr Index kCenters = 128, kPixels = 4096, kDim = 64;
constexpr Index kTokens = 256, kHeads = 8, kVariables = 4, kValues = 16;

/// Numbers 0, 1, 2, ... below a limit, scrambled.
template <std::size_t Rank>
Tensor<std::int32_t, Rank> categories(const std::array<Index, Rank>& shape, Index limit) {
  Tensor<std::int32_t, Rank> out(shape);
  for (Index i = 0; i < out.size(); ++i)
    out.data()[i] = static_cast<std::int32_t>(i * 7919 % 104729 % limit);
  return out;
}

void add_kmeans() {
  bench::Row{.name = bench::row_name("softmax/kmeans/forward/f32",
                                     {{"N", kCenters}, {"M", kPixels}, {"D", kDim}}),
             .flops = 2.0 * kCenters * kPixels * kDim}
      .add([](const weft::Context& context) {
        return [&context, centers = uniform<float>({1, 1, kCenters, kDim}, 1),
                pixels = uniform<float>({1, 1, kPixels, kDim}, 2),
                values = uniform<float>({1, 1, kPixels, kDim}, 3),
                update = Tensor<float, 4>({1, 1, kCenters, kDim}),
                assigned = Tensor<std::int32_t, 3>({1, 1, kPixels})]() mutable {
          weft::forward(weft::KMeans<>{}, centers, pixels, values, update, assigned, context);
        };
      });
}

void add_categorical() {
  bench::Row{.name = bench::row_name("softmax/categorical/forward/i32",
                                     {{"H", kHeads}, {"N", kTokens}, {"V", kValues}})}
      .add([](const weft::Context& context) {
        return [&context, tokens = categories<3>({1, kTokens, kVariables}, kValues),
                variables = categories<1>({kHeads}, kVariables),
                predicate = categories<2>({kHeads, kValues}, kValues),
                out = Tensor<std::int32_t, 3>({1, kTokens, kHeads}),
                attended = Tensor<std::int32_t, 3>({1, kHeads, kTokens})]() mutable {
          const auto of = std::as_const(variables).view();
          weft::forward(
              weft::CategoricalAttention<>{of, of, of, std::as_const(predicate).view(), kTokens},
              tokens, out, attended, context);
        };
      });
}

const bench::Rows rows([] {
  add_kmeans();
  add_categorical();
});

}  // namespace
