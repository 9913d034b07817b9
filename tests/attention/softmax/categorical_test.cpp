#include "reference/normalizer.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/categorical.hpp>

#include <random>

using namespace weft;

namespace {

constexpr Index B = 2, N = 41, H = 4, kVariables = 3, kValues = 5;

/// Random tokens, heads and visibility.
struct Program {
  Program() : random(4) {
    for (auto* of : {&query, &key, &value}) fill(*of, kVariables);
    fill(predicate, kValues);
    fill(tokens, kValues);
    for (auto& byte : bytes.span()) byte = random() % 3 != 0;
  }

  template <class X>
  void fill(X& numbers, Index limit) {
    for (auto& x : numbers.span())
      x = static_cast<std::int32_t>(random() % static_cast<unsigned>(limit));
  }

  CategoricalAttention<BoolMask> mixer(Index context) const {
    return {query.view(),     key.view(), value.view(),
            predicate.view(), context,    BoolMask(bytes.view())};
  }
  void run(Index context, const Context& executor = Context()) {
    forward(mixer(context), tokens, out, attended, executor);
  }

  std::mt19937 random;
  Tensor<std::int32_t, 1> query{{H}}, key{{H}}, value{{H}};
  Tensor<std::int32_t, 2> predicate{{H, kValues}};
  Tensor<std::int32_t, 3> tokens{{B, N, kVariables}}, out{{B, N, H}}, attended{{B, H, N}};
  Tensor<std::uint8_t, 4> bytes{{B, 1, N, N}};
};

}  // namespace

TEST_CASE("categorical: the best match, or key 0", "[softmax][softmax/categorical]") {
  Program p;
  for (const Index context : {Index{0}, N, 3 * N}) {
    p.run(context);
    for (Index b = 0; b < B; ++b)
      for (Index h = 0; h < H; ++h)
        for (Index i = 0; i < N; ++i) {
          const auto wanted = p.predicate(h, p.tokens(b, i, p.query(h)));
          std::vector<bool> matches, visible;
          for (Index j = 0; j < N; ++j) {
            matches.push_back(p.tokens(b, j, p.key(h)) == wanted);
            visible.push_back(p.bytes(b, 0, i, j) != 0);
          }
          const auto best = static_cast<Index>(reference::categorical_choice(
              matches, visible, static_cast<std::size_t>(i), double(context)));
          CHECK(p.attended(b, h, i) == best);
          CHECK(p.out(b, i, h) == p.tokens(b, best, p.value(h)));
        }
  }
}

TEST_CASE("categorical: threads change nothing, nor do contexts of one and two", "[softmax]") {
  Program p;
  p.run(N);
  const auto alone = doubles_of(p.attended.view());
  auto three = fresh_threads(3);
  p.run(N, Context(three));
  CHECK((doubles_of(p.attended.view()) == alone));

  const auto two = p.tokens.view().slice(1, 0, 2);
  Tensor<std::int32_t, 3> out({B, 2, H}), attended({B, H, 2});
  const CategoricalAttention<> mixer{p.query.view(), p.key.view(), p.value.view(),
                                     p.predicate.view(), 2};
  forward(mixer, two, out, attended);
  for (const std::int32_t j : attended.span()) CHECK((j == 0 || j == 1));
}

TEST_CASE("categorical: values out of range are refused", "[softmax]") {
  const auto refusal = [](auto change, Index context = 0) {
    Program p;
    change(p);
    return message_of([&] { p.run(context); });
  };
  CHECK(refusal([](Program&) {}).empty());
  CHECK(contains(refusal([](Program& p) { p.tokens(1, 3, 2) = 5; }), "tokens holds 5"));
  CHECK(contains(refusal([](Program& p) { p.predicate(1, 3) = -1; }), "predicate holds -1"));
  CHECK(contains(refusal([](Program& p) { p.key(1) = 3; }), "key_var holds 3"));
  CHECK(contains(refusal([](Program& p) { p.query = Tensor<std::int32_t, 1>({2}); }),
                 "query_var has 2 heads"));
  CHECK(contains(refusal([](Program&) {}, N - 1), "context 40 is shorter"));
  CHECK(contains(refusal([](Program& p) { p.out = Tensor<std::int32_t, 3>({B, N, 2}); }), "out"));
  CHECK(contains(refusal([](Program& p) {
                   p.attended = Tensor<std::int32_t, 3>({B, H, 2});
                 }),
                 "attended"));
}
