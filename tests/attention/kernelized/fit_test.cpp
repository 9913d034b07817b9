#include "reference/combiner.hpp"
#include "support/allocations.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/kernelized/fit.hpp>

// kernelized/fit

using namespace weft;
using reference::Tokens;

namespace {

template <class T>
struct Setup {
  Setup(Index B, Index H, Index groups, Index n, Index m, Index D, bool causal)
      : x(even_values<T, 4>({B, H, groups * n, D}, 1, -2, 2)),
        z(even_values<T, 4>({B, H, groups * m, D}, 2, -2, 2)),
        block{groups, causal} {}

  /// Tokens and then latents.
  std::vector<double> run(const Context& ctx = Context()) const {
    Tensor<T, 4> tokens = x.clone(), latents = z.clone();
    forward(block, tokens, latents, ctx);
    auto both = doubles_of(tokens.view());
    const auto rest = doubles_of(latents.view());
    both.insert(both.end(), rest.begin(), rest.end());
    return both;
  }

  std::vector<double> expected() const {
    std::vector<double> both, rest;
    for (Index b = 0; b < x.extent(0); ++b)
      for (Index h = 0; h < x.extent(1); ++h) {
        Tokens tokens = head(x, b, h), latents = head(z, b, h);
        reference::fit_block(tokens, latents, static_cast<std::size_t>(block.groups), block.causal);
        for (const auto& row : tokens) both.insert(both.end(), row.begin(), row.end());
        for (const auto& row : latents) rest.insert(rest.end(), row.begin(), row.end());
      }
    both.insert(both.end(), rest.begin(), rest.end());
    return both;
  }

  static Tokens head(const Tensor<T, 4>& t, Index b, Index h) {
    Tokens all;
    for (Index n = 0; n < t.extent(2); ++n)
      all.push_back(doubles_of(t.view().select(0, b).select(0, h).select(0, n)));
    return all;
  }

  Tensor<T, 4> x, z;
  FitBlock block;
};

}  // namespace

TEST_CASE("FIT agrees with the reference", "[kernelized]") {
  for (const bool causal : {false, true}) {
    const Setup<double> exact[] = {{1, 1, 1, 1, 1, 1, causal},
                                   {2, 3, 3, 4, 2, 5, causal},
                                   {1, 2, 5, 7, 1, 8, causal},
                                   {1, 1, 2, 40, 35, 3, causal}};
    for (const auto& s : exact) CHECK(largest_error(s.run(), s.expected()) < 1e-13);
    const Setup<float> rounded(2, 2, 6, 20, 8, 16, causal);
    CHECK(largest_error(rounded.run(), rounded.expected()) < 1e-5);
    CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run(ctx); }));
    CHECK(Setup<float>(0, 1, 2, 3, 4, 2, causal).run().empty());
  }
}

TEST_CASE("FIT: a causal token sees no later one, groups may be exchanged", "[kernelized]") {
  Setup<double> s(1, 1, 4, 3, 2, 5, true), changed(1, 1, 4, 3, 2, 5, true);
  for (Index d = 0; d < 5; ++d) changed.x(0, 0, 7, d) += 2;
  const auto before = s.run(), after = changed.run();
  for (std::size_t i = 0; i < 7 * 5; ++i) CHECK(std::abs(before[i] - after[i]) < 1e-13);
  CHECK(std::abs(before[7 * 5] - after[7 * 5]) > 1e-3);

  Setup<double> one(1, 1, 2, 3, 2, 5, false), other(1, 1, 2, 3, 2, 5, false);
  for (auto* t : {&other.x, &other.z}) {
    const Index half = t->size() / 2;
    std::swap_ranges(t->data(), t->data() + half, t->data() + half);
  }
  const auto a = one.run(), b = other.run();
  for (std::size_t i = 0; i < 15; ++i) {
    CHECK(std::abs(a[i] - b[i + 15]) < 1e-13);
    CHECK(std::abs(a[i + 15] - b[i]) < 1e-13);
  }
}

TEST_CASE("FIT: the mask of groups classifies as it hides", "[kernelized]") {
  for (const Index size : {1, 2, 5})
    for (Index i0 = 0; i0 < 12; ++i0)
      for (Index j0 = 0; j0 < 12; ++j0) {
        const GroupCausal mask{size};
        Index seen = 0;
        for (Index i = i0; i < i0 + 3; ++i) {
          const Row row{0, 0, i, 20, 20};
          const auto lanes = mask.lanes<double, DefaultArch>(row, j0);
          for (Index j = j0; j < j0 + 4; ++j) seen += mask.visible(row, j) ? 1 : 0;
          for (Index l = 0; l < kWidth<double>; ++l)
            CHECK(lanes.get(static_cast<std::size_t>(l)) == mask.visible(row, j0 + l));
        }
        const Coverage coverage = mask.classify({0, {i0, i0 + 2}, {j0, j0 + 3}, 20, 20});
        if (coverage == Coverage::empty) CHECK(seen == 0);
        if (coverage == Coverage::full) CHECK(seen == 12);
      }
}

TEST_CASE("FIT refuses what does not fit", "[kernelized][errors]") {
  const auto refusal = [](auto change) {
    Setup<float> s(1, 2, 2, 3, 2, 4, true);
    change(s);
    return message_of([&] { s.run(); });
  };
  CHECK(contains(refusal([](auto& s) { s.block.groups = 4; }), "4 groups of 6 tokens"));
  CHECK(contains(refusal([](auto& s) { s.block.groups = 0; }), "0 groups"));
  CHECK(contains(refusal([](auto& s) {
                   s.z = Tensor<float, 4>({1, 1, 4, 4});
                 }),
                 "only their lengths may differ"));
}

TEST_CASE("FIT takes its memory from the context", "[kernelized]") {
  const Setup<float> s(1, 2, 3, 5, 2, 4, true);
  Tensor<float, 4> x = s.x.clone(), z = s.z.clone();
  CHECK(allocates_once([&](const Context& ctx) { forward(s.block, x, z, ctx); }));
}
