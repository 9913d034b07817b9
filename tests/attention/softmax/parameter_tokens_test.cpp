#include "attention/softmax/compare.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/parameter_tokens.hpp>
#include <weft/attention/softmax/top_k.hpp>

using namespace weft;

// The engine, which the case table compares with the reference, is the truth here.

namespace {

/// 270 tokens and more rows than one block holds.
struct Setup {
  Tensor<float, 2> x = even_values<float, 2>({130, 24}, 1);
  Tensor<float, 2> K = even_values<float, 2>({270, 24}, 2);
  Tensor<float, 2> V = even_values<float, 2>({270, 21}, 3);

  template <class Z>
  auto layer(const Z& normalizer, double scale = 1) const {
    return ParameterTokens(DenseOperator(K.view()), DenseOperator(V.view().transpose(0, 1)),
                           normalizer, scale);
  }

  template <class Z>
  std::vector<double> expected(const Z& normalizer, double scale) const {
    Tensor<float, 4> out({1, 1, x.extent(0), V.extent(1)});
    const auto head = [](const auto& t) { return unsqueeze(unsqueeze(t.view())); };
    forward(Softmax{NoMask{}, NoScore{}, normalizer, scale}, head(x), head(K), head(V), out);
    return doubles_of(out.view());
  }
};

}  // namespace

TEST_CASE("parameter tokens: what the engine says, whatever the normalizer",
          "[softmax][softmax/pattention]") {
  const Setup s;
  const auto check = [&](const auto& normalizer, double scale) {
    const auto layer = s.layer(normalizer, scale);
    CHECK((layer.rows() == 21 && layer.cols() == 24 && layer.tokens() == 270));
    const Poisoned<float, 2> y({130, 21});
    layer.apply(s.x.view(), y.view());
    CHECK(cases::error_of(doubles_of(y.view()), s.expected(normalizer, scale)) < 1e-5);
    CHECK(y.guards_intact());
  };
  check(NormalizedGelu{}, 1);
  check(NormalizedGelu{3}, -0.5);
  check(GeluNormalized{}, 1);
  check(ScaledSoftmax{}, 0.25);
  check(TopK{4}, 1);
}

TEST_CASE("parameter tokens: an operator like others; threads; no rows", "[softmax]") {
  const Setup s;
  const auto layer = s.layer(NormalizedGelu{});
  static_assert(Operator<decltype(layer)>);
  CHECK(same_for_any_threads([&](const Context& ctx) {
    Tensor<float, 2> y({130, 21});
    layer.apply(s.x.view(), y.view(), ctx);
    return doubles_of(y.view());
  }));
  Tensor<float, 2> none({0, 21});
  layer.apply(s.x.view().slice(0, 0, 0), none.view());
}

TEST_CASE("parameter tokens: what does not fit is refused", "[softmax][errors]") {
  const Setup s;
  const auto layer = s.layer(NormalizedGelu{-1});
  Tensor<float, 2> y({130, 21}), narrow({130, 20});
  CHECK(contains(message_of([&] { layer.apply(s.x.view(), y.view()); }), "NormalizedGelu: tau"));
  CHECK(contains(message_of([&] { layer.apply(s.x.view(), narrow.view()); }), "wanted [n, 24]"));
  CHECK(contains(message_of([&] { s.layer(NormalizedGelu{}, HUGE_VAL); }), "scale must be finite"));
  CHECK(contains(message_of([&] {
                   ParameterTokens(DenseOperator(s.K.view()), DenseOperator(s.V.view()),
                                   NormalizedGelu{});
                 }),
                 "270 keys and 21 values"));
}
