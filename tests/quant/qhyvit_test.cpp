#include "reference/quant_methods.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/qhyvit.hpp>

#include <limits>

using namespace weft;

TEST_CASE("qhyvit: all four options agree with the outputs themselves", "[quant][quant/qhyvit]") {
  for (const Index rows : {1, 4}) {
    auto w = even_values<float, 2>({rows, 7}, 1);
    if (rows > 1)
      for (Index k = 0; k < 7; ++k) {
        w(1, k) = 3 + 0.1f * w(1, k);  // nothing below 0
        w(2, k) = 0;
      }
    const auto x = even_values<float, 2>({9, 7}, 2), g = even_values<float, 2>({9, rows}, 3);
    const auto got = quant::qhyvit_select(w, x, g, 4);
    double least = std::numeric_limits<double>::infinity();
    Index best = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const quant::QhyvitOption& option = got.options[i];
      CHECK(option.per_channel == (i >= 2));
      CHECK(option.symmetric == (i % 2 == 1));
      const auto wanted =
          reference::qhyvit(double_rows(w.view()), double_rows(x.view()), double_rows(g.view()),
                            option.per_channel, option.symmetric, 4);
      CHECK(option.error == Approx(wanted.error).epsilon(1e-10));
      CHECK(std::vector<int>(option.index.span().begin(), option.index.span().end()) ==
            wanted.index);
      std::vector<double> flat;
      for (const auto& row : wanted.weight) flat.insert(flat.end(), row.begin(), row.end());
      CHECK(largest_error(doubles_of(option.weight.view()), flat) <= 1e-13);
      if (option.error < least) {
        least = option.error;
        best = static_cast<Index>(i);
      }
    }
    CHECK(got.best == best);
    CHECK(got.choice().error == least);
  }
}

TEST_CASE("qhyvit: outputs without a gradient do not count", "[quant]") {
  const auto w = even_values<float, 2>({2, 6}, 4), x = even_values<float, 2>({5, 6}, 5);
  Tensor<float, 2> g({5, 2});
  const auto none = quant::qhyvit_select(w, x, g, 8);
  CHECK(none.best == 0);  // all errors are 0: the first
  CHECK(none.choice().error == 0);
  for (Index t = 0; t < 5; ++t) g(t, 1) = 1;
  const auto one = quant::qhyvit_select(w, x, g, 8);
  CHECK(one.options[2].index(0) == 0);  // of the row that does not count
  CHECK(one.options[2].error > 0);
}

TEST_CASE("qhyvit: what it cannot do is named", "[quant]") {
  const auto w = even_values<float, 2>({2, 6}, 6), x = even_values<float, 2>({5, 6}, 7),
             g = even_values<float, 2>({5, 2}, 8);
  const auto refusal = [&](const auto& weight, const auto& inputs, const auto& gradients,
                           int bits = 8) {
    return message_of([&] { quant::qhyvit_select(weight, inputs, gradients, bits); });
  };
  CHECK(contains(refusal(w, g, g), "inputs are [5, 2]"));
  CHECK(contains(refusal(w, x, x), "gradients are [5, 6]"));
  CHECK(contains(refusal(w, x, g, 1), "1 bits"));
  CHECK(contains(refusal(w, Tensor<float, 2>({0, 6}), Tensor<float, 2>({0, 2})), "no tokens"));
  auto bad = g.clone();
  bad(4, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(refusal(w, x, bad), "gradients(4, 1)"));
}
