/// softmax/<variant>/...: every row of the family's case tables at one size. `of_plain` is its time
/// over that of plain softmax attention under the same mask, wanted below 1.25 where the arithmetic
/// allows; beside each, unfused/... does the same in separate steps. Plain attention takes 145
/// instructions for 16 logits at D = 64: 128 multiply-adds, and 17 for a power of two and a
/// maximum. More take
///   alibi                    8: 1.05
///   softcap                  18, a quotient of polynomials: 1.12, and a division
///   bias, elementwise_mask   5, and 64 bytes of [H, N, M] floats that no cache holds, fetched
///                            while the products before them run: 1.03 and what memory takes
///   sigmoid                  16 for function and sums, and the bias of this row: 1.14 and memory
///   clipped                  41, a soft cap and a second walk over logits that are kept: 1.28
///   stable_power             the second walk
///   pattention               60, the second walk and gelu with a division: 1.41
/// A second walk would take the 64 multiply-adds of the logits again, 1.44 in all, and does where
/// there are more keys than logits are kept of. top_k multiplies no values but those that it keeps.
#include "cases/normalizers.hpp"
#include "cases/softmax.hpp"
#include "support/row.hpp"
#include "support/softmax_cases.hpp"
#include "support/unfused_mixer.hpp"
#include <weft/attention/softmax.hpp>

#include <string>

namespace {

using bench::Index;
using Inputs = cases::AttentionInputs<float>;

constexpr Index kLength = 2048, kDim = 64;

/// Mixer and inputs of one case; the mixer refers to the inputs' memory.
template <class Case>
class VariantCall {
 public:
  VariantCall(const Case& variant, const cases::AttentionShape& shape, const weft::Context& context)
      : inputs_(shape),
        mixer_(variant.mixer(inputs_)),
        out_({shape.B, shape.Hq, shape.N, shape.E}),
        context_(context) {}

  void operator()() { attend(mixer_); }

  void add_counters(benchmark::State& state) {
    const weft::Softmax plain{mixer_.mask};
    auto with_plain = [&] { attend(plain); };
    const auto [own, other] = bench::least_seconds(*this, with_plain, 1, 5);
    state.counters["of_plain"] = own / other;
  }

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

 protected:
  using Mixer = decltype(std::declval<const Case&>().mixer(std::declval<Inputs&>()));

  template <class M>
  void attend(const M& mixer) {
    weft::forward(mixer, inputs_.q, inputs_.k, inputs_.v, out_, context_);
  }
  void attend_with(bench::UnfusedMixer<Mixer>& steps) {
    steps(inputs_.q.view(), inputs_.k.view(), inputs_.v.view(), out_.view(), context_);
  }

  Inputs inputs_;
  Mixer mixer_;
  weft::Tensor<float, 4> out_;
  const weft::Context& context_;
};

/// The same in separate steps. `of_fused` is its time over that of the row without unfused/, in the
/// same run: below 1 there would be no reason for the engine.
template <class Case>
class UnfusedCall : VariantCall<Case> {
 public:
  using VariantCall<Case>::VariantCall;
  using VariantCall<Case>::flops;

  void operator()() { this->attend_with(steps_); }

  void add_counters(benchmark::State& state) {
    auto fused = [&] { VariantCall<Case>::operator()(); };
    const auto [own, other] = bench::least_seconds(*this, fused, 1, 3);
    state.counters["of_fused"] = own / other;
  }

 private:
  bench::UnfusedMixer<typename VariantCall<Case>::Mixer> steps_{this->mixer_};
};

template <class Case>
void add(const Case& variant) {
  if (variant.name == "softmax/full") return;  // softmax_bench.cpp has this row
  const Index kv_heads = 8 / variant.group, heads = kv_heads * variant.group;
  const cases::AttentionShape shape{1, heads, kv_heads, kLength, kLength, kDim, kDim};
  const bench::SoftmaxCase sizes{
      .heads = heads, .queries = kLength, .key_dim = kDim, .kv_heads = kv_heads};
  const bench::Row row{.name = std::string(variant.name) + "/forward/f32" + sizes.sizes()};
  row.add([=](const weft::Context& context) { return VariantCall<Case>(variant, shape, context); });
  row.by("unfused").add(
      [=](const weft::Context& context) { return UnfusedCall<Case>(variant, shape, context); });
}

const bench::Rows rows([] {
  cases::for_each_softmax_case([](const auto& row) { add(row); });
  cases::for_each_normalizer_case([](const auto& row) { add(row); });
});

}  // namespace
