#include "attention/linear/images.hpp"
#include "reference/gated_linear.hpp"
#include <weft/attention/linear/joint_attention.hpp>

using namespace weft;
using images::flat;
using images::tokens_of;

namespace {

constexpr Index kBatch = 2, kS = 6, kE = 10;

/// The four projections [4, B, N, S] and values.
struct Input {
  Tensor<double, 4> copies;
  Tensor<double, 3> v;

  explicit Input(Index N)
      : copies(even_values<double, 4>({4, kBatch, N, kS}, 1)),
        v(even_values<double, 3>({kBatch, N, kE}, 2)) {}

  View<const double, 3> copy(Index i) const { return copies.view().select(0, i); }

  std::vector<double> run(const JointAttention<double>& mixer) const {
    const Poisoned<double, 3> out(v.shape());
    forward(mixer, copy(0), copy(1), copy(2), copy(3), v, out.view());
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  std::vector<double> truth(const JointAttention<double>& mixer) const {
    std::vector<double> all;
    for (Index b = 0; b < kBatch; ++b) {
      const auto visible = mixer.lengths.data() == nullptr ? v.extent(1) : mixer.lengths(b);
      const auto part = flat(reference::joint_attention(
          tokens_of(copy(0), b), tokens_of(copy(1), b), tokens_of(copy(2), b),
          tokens_of(copy(3), b), tokens_of(v, b), static_cast<std::size_t>(mixer.group),
          mixer.causal, static_cast<std::size_t>(visible), [&](long d) {
            return mixer.bias.data() == nullptr ? 0.0 : mixer.bias(mixer.group - 1 + d);
          }));
      all.insert(all.end(), part.begin(), part.end());
    }
    return all;
  }
};

}  // namespace

TEST_CASE("joint attention: local and global parts", "[linear][linear/flash]") {
  for (const auto& [N, group] :
       {std::pair<Index, Index>{1, 1}, {20, 5}, {23, 8}, {7, 30}, {70, 64}}) {
    const Input in(N);
    const auto bias = even_values<double, 1>({2 * group - 1}, 3);
    Tensor<std::int32_t, 1> lengths({kBatch});
    lengths(1) = static_cast<std::int32_t>(N / 2 + 1);  // the other sequence has no token
    for (const bool causal : {false, true}) {
      for (const JointAttention<double>& mixer : {JointAttention<double>{group, causal},
                                                  {group, causal, bias},
                                                  {group, causal, bias, lengths}})
        CHECK(largest_error(in.run(mixer), in.truth(mixer)) <= 1e-13);
    }
  }
}

TEST_CASE("joint attention: one group is local attention, later tokens do not matter", "[linear]") {
  Input in(30);
  const JointAttention<double> mixer{8, true};
  const auto before = in.run(mixer);
  for (Index i = 0; i < 4; ++i) in.copies(i, 1, 20, 3) += 1;
  in.v(1, 20, 2) += 1;
  const auto after = in.run(mixer);
  CHECK(std::equal(before.begin(), before.begin() + 50 * kE, after.begin()));
  CHECK(before != after);
}

TEST_CASE("joint attention: offsets, scales and the triple gate", "[linear][linear/mossformer]") {
  const auto z = even_values<double, 3>({2, 5, kS}, 1);
  const auto gamma = even_values<double, 2>({3, kS}, 2), beta = even_values<double, 2>({3, kS}, 3);
  Tensor<double, 4> copies({3, 2, 5, kS});
  offset_scale<DefaultArch, double>(gamma, beta, z, copies);
  for (Index c = 0; c < 3; ++c)
    for (Index i = 0; i < z.size(); ++i)
      CHECK(copies.data()[c * z.size() + i] ==
            Approx(z.data()[i] * gamma(c, i % kS) + beta(c, i % kS)).margin(1e-15));
  const auto x = even_values<double, 4>({4, 2, 5, kE}, 4);
  Tensor<double, 3> out({2, 5, kE});
  const auto part = [&](Index i) { return x.view().select(0, i); };
  triple_gate(part(0), part(1), part(2), part(3), out);
  const auto at = [&](Index which, Index i) { return x.data()[which * out.size() + i]; };
  for (Index i = 0; i < out.size(); ++i)
    CHECK(out.data()[i] ==
          Approx(at(1, i) * at(2, i) * reference::logistic(at(0, i) * at(3, i))).margin(1e-15));
}

TEST_CASE("joint attention: what does not fit is refused", "[linear]") {
  const Input in(9);
  const auto refusal = [&](const JointAttention<double>& mixer) {
    return message_of([&] { in.run(mixer); });
  };
  const Tensor<double, 1> bias({8});
  const Tensor<std::int32_t, 1> lengths({3});
  CHECK(contains(refusal({0}), "group is 0"));
  CHECK(contains(refusal({4, false, bias}), "bias has 8 distances"));
  CHECK(contains(refusal({4, false, {}, lengths}), "3 lengths for 2 sequences"));
  Tensor<double, 3> narrow({kBatch, 9, 3});
  CHECK(contains(message_of([&] {
                   forward(JointAttention<double>{4}, in.copy(0), in.copy(1), in.copy(2),
                           in.copy(3), in.v, narrow);
                 }),
                 "give both the same shape"));
  CHECK(contains(message_of([&] {
                   forward(JointAttention<double>{4}, in.copy(0), narrow, in.copy(2), in.copy(3),
                           in.v, narrow);
                 }),
                 "wanted [B, N, S] four times"));
}
