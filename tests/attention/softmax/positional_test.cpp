#include "reference/positional.hpp"

#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/attention/softmax/positional.hpp>
#include <weft/attention/softmax/rope_alibi.hpp>

// softmax/positional_attention

using namespace weft;

namespace {

template <class T>
struct Setup {
  Setup(Index B, Index H, Index N, Index M, Index P, Index E)
      : q(even_values<T, 3>({H, N, P}, 1, -2, 2)),
        k(even_values<T, 3>({H, M, P}, 2, -2, 2)),
        v(even_values<T, 4>({B, H, M, E}, 3)) {}

  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({v.extent(0), q.extent(0), q.extent(1), v.extent(3)});
    forward_positional(Softmax{}, q, k, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  std::vector<double> expected() const {
    const auto size = [](Index n) { return static_cast<std::size_t>(n); };
    return reference::positional(doubles_of(q.view()), doubles_of(k.view()), doubles_of(v.view()),
                                 {size(v.extent(0)), size(q.extent(0)), size(q.extent(1)),
                                  size(k.extent(1)), size(q.extent(2)), size(v.extent(3))});
  }

  Tensor<T, 3> q, k;
  Tensor<T, 4> v;
};

}  // namespace

TEST_CASE("positional attention agrees with the reference", "[softmax]") {
  // Batches that need one call, several, and one each.
  const Setup<double> exact[] = {
      {1, 1, 1, 1, 1, 1}, {5, 2, 7, 9, 3, 4}, {11, 3, 30, 17, 5, 60}, {3, 1, 9, 33, 8, 300}};
  for (const auto& s : exact) CHECK(largest_error(s.run(), s.expected()) < 1e-13);
  const Setup<float> rounded(9, 2, 40, 70, 6, 64);
  CHECK(largest_error(rounded.run(), rounded.expected()) < 1e-5);
}

TEST_CASE("positional attention is linear in the values; threads; empty", "[softmax]") {
  const Setup<float> s(7, 2, 33, 20, 4, 50);
  CHECK(same_for_any_threads([&](const Context& ctx) { return s.run(ctx); }));
  Setup<float> twice(7, 2, 33, 20, 4, 50);
  for (float& x : twice.v.span()) x *= 2;
  auto expected = s.run();
  for (double& x : expected) x *= 2;
  CHECK((twice.run() == expected));
  CHECK(Setup<float>(0, 2, 3, 3, 4, 5).run().empty());
  CHECK(Setup<float>(2, 2, 0, 3, 4, 5).run().empty());
  for (const double x : Setup<float>(2, 2, 3, 0, 4, 5).run()) CHECK(x == 0);
}

TEST_CASE("positional attention refuses what does not fit", "[softmax][errors]") {
  const Setup<float> s(2, 2, 3, 4, 5, 6);
  const auto refusal = [&](Index B, Index E, Index keys) {
    Tensor<float, 4> out({B, 2, 3, E});
    return message_of(
        [&] { forward_positional(Softmax{}, s.q, s.k.view().slice(1, 0, keys), s.v, out); });
  };
  CHECK(contains(refusal(1, 6, 4), "out is"));
  CHECK(contains(refusal(2, 5, 4), "wanted [2, 2, 3, 6]"));
  CHECK(contains(refusal(2, 6, 3), "length of k"));
}

TEST_CASE("harmonic distances refuse what does not fit", "[softmax][errors]") {
  const Tensor<float, 1> slopes({2});
  CHECK(contains(message_of([&] { harmonic_bias<float>(slopes.view(), 0, 3); }), "0 queries"));
  const auto table = harmonic_bias<float>(slopes.view(), 3, 4);
  const RopeAlibi score{HUGE_VAL, 1.0, RelativeBias<float>{table.view(), 3}};
  CHECK(contains(message_of([&] { score.check(1, 2, 3, 4); }), "must be finite"));
  CHECK(contains(message_of([&] {
                   RopeAlibi{1.0, 1.0, RelativeBias<float>{table.view(), 3}}.check(1, 2, 4, 4);
                 }),
                 "distances from"));
}
