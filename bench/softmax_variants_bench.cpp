/// softmax/<variant>/...: every row of the family's case tables at one size. What a variant costs
/// beside plain attention is its time over that of softmax/full with N=1024.
#include "cases/normalizers.hpp"
#include "cases/softmax.hpp"
#include "support/row.hpp"
#include "support/softmax_cases.hpp"
#include <weft/attention/softmax.hpp>

#include <string>

namespace {

using bench::Index;
using Inputs = cases::AttentionInputs<float>;

constexpr Index kLength = 1024, kDim = 64;

/// Mixer and inputs of one case; the mixer refers to the inputs' memory.
template <class Case>
class VariantCall {
 public:
  VariantCall(const Case& variant, const cases::AttentionShape& shape, const weft::Context& context)
      : inputs_(shape),
        mixer_(variant.mixer(inputs_)),
        out_({shape.B, shape.Hq, shape.N, shape.E}),
        context_(context) {}

  void operator()() { weft::forward(mixer_, inputs_.q, inputs_.k, inputs_.v, out_, context_); }

  /// Of the pairs that the mask shows. Every 16th query stands for its neighbours.
  double flops() const {
    constexpr Index step = 16;
    const auto& s = inputs_.shape;
    Index pairs = 0;
    for (Index h = 0; h < s.Hq; ++h)
      for (Index i = 0; i < s.N; i += step)
        for (Index j = 0; j < s.M; ++j)
          pairs += mixer_.mask.visible(weft::Row{0, h, i, s.N, s.M}, j) ? step : 0;
    return 2.0 * static_cast<double>(pairs * (s.D + s.E));
  }

 private:
  Inputs inputs_;
  decltype(std::declval<const Case&>().mixer(std::declval<Inputs&>())) mixer_;
  weft::Tensor<float, 4> out_;
  const weft::Context& context_;
};

template <class Case>
void add(const Case& variant) {
  if (variant.name == "softmax/full") return;  // softmax_bench.cpp has this row
  const Index kv_heads = 8 / variant.group, heads = kv_heads * variant.group;
  const cases::AttentionShape shape{1, heads, kv_heads, kLength, kLength, kDim, kDim};
  const bench::SoftmaxCase sizes{
      .heads = heads, .queries = kLength, .key_dim = kDim, .kv_heads = kv_heads};
  bench::Row{.name = std::string(variant.name) + "/forward/f32" + sizes.sizes()}.add(
      [=](const weft::Context& context) { return VariantCall<Case>(variant, shape, context); });
}

const bench::Rows rows([] {
  cases::for_each_softmax_case([](const auto& row) { add(row); });
  cases::for_each_normalizer_case([](const auto& row) { add(row); });
});

}  // namespace
