#include "reference/codebook.hpp"

#include "reference/norm.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/codebook.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

struct Layer {
  Tensor<double, 3> codes;
  Tensor<double, 2> gamma, beta;

  Layer(Index groups, Index K, Index d)
      : codes(even_values<double, 3>({groups, K, d}, 1)),
        gamma(even_values<double, 2>({groups, d}, 2, 0.5, 1.5)),
        beta(even_values<double, 2>({groups, d}, 3)) {}
};

}  // namespace

TEST_CASE("codebook features are means of the most similar codes", "[quant/codebook_features]") {
  const Index groups = GENERATE(1, 3), K = GENERATE(4, 17, 200), k = GENERATE(1, 4);
  const auto similarity = GENERATE(Similarity::inner, Similarity::euclidean);
  const Index N = 12, d = 5;
  Layer in(groups, K, d);
  for (Index c = 0; c < d; ++c) in.codes(0, 2, c) = in.codes(0, 0, c);  // a tie
  const auto x = even_values<double, 2>({N, groups * d}, 4);
  const CodebookLayer<double> layer(in.codes, in.gamma, in.beta, k, similarity);
  Poisoned<double, 2> out(x.shape());
  Tensor<std::int32_t, 3> ids({N, groups, k});
  layer.apply(x, out.view(), ids.view());
  Index wrong = 0;
  for (Index n = 0; n < N; ++n)
    for (Index g = 0; g < groups; ++g) {
      const auto row = doubles_of(x.view().select(0, n).slice(0, g * d, d));
      const auto u = reference::layer_norm(row, 1e-5, doubles_of(in.gamma.view().select(0, g)),
                                           doubles_of(in.beta.view().select(0, g)));
      const auto codes = double_rows(in.codes.view().select(0, g));
      const auto best = reference::most_similar(u, codes, static_cast<std::size_t>(k),
                                                similarity == Similarity::inner);
      for (Index i = 0; i < k; ++i)
        wrong += best[static_cast<std::size_t>(i)] != static_cast<std::size_t>(ids(n, g, i));
      for (Index c = 0; c < d; ++c) {
        double mean = 0;
        for (const std::size_t j : best)
          mean += codes[j][static_cast<std::size_t>(c)] / static_cast<double>(k);
        CHECK(out.view()(n, g * d + c) == Approx(mean).margin(1e-14));
      }
    }
  CHECK(wrong == 0);
  CHECK(out.guards_intact());
}

TEST_CASE("codebook features: codes of length 0 have no inner similarity", "[quant]") {
  Layer in(1, 3, 4);
  for (Index c = 0; c < 4; ++c) in.codes(0, 1, c) = 0;
  const auto x = even_values<double, 2>({30, 4}, 5);
  Tensor<double, 2> out(x.shape());
  Tensor<std::int32_t, 3> ids({30, 1, 2});
  CodebookLayer<double>(in.codes, in.gamma, in.beta, 2).apply(x, out.view(), ids.view());
  for (const std::int32_t id : ids.span()) CHECK(id != 1);
  CHECK(contains(message_of([&] { CodebookLayer<double>(in.codes, in.gamma, in.beta, 3); }),
                 "2 codes"));
  CHECK_NOTHROW(CodebookLayer<double>(in.codes, in.gamma, in.beta, 3, Similarity::euclidean));
}

TEST_CASE("codebook features in place, of nothing, and of what is not finite", "[quant]") {
  const Layer in(2, 8, 3);
  const CodebookLayer<double> layer(in.codes, in.gamma, in.beta, 2);
  auto x = even_values<double, 2>({7, 6}, 6);
  Tensor<double, 2> out(x.shape());
  Tensor<std::int32_t, 3> ids({7, 2, 2});
  layer.apply(x, out.view(), ids.view());
  layer.apply(x, x.view(), ids.view());
  CHECK(std::equal(out.data(), out.data() + out.size(), x.data()));
  x(4, 5) = std::numeric_limits<double>::quiet_NaN();
  CHECK(contains(message_of([&] { layer.apply(x, out.view(), ids.view()); }), "row 4"));
  Tensor<double, 2> none({0, 6});
  Tensor<std::int32_t, 3> no_ids({0, 2, 2});
  CHECK_NOTHROW(layer.apply(none, none.view(), no_ids.view()));
}

TEST_CASE("codebook features refuse shapes", "[quant]") {
  const Layer in(2, 8, 3);
  const CodebookLayer<double> layer(in.codes, in.gamma, in.beta, 2);
  Tensor<double, 2> x({7, 5}), right({7, 6});
  Tensor<std::int32_t, 3> ids({7, 2, 3});
  CHECK(contains(message_of([&] { layer.apply(x, x.view(), ids.view()); }), "6 channels"));
  CHECK(contains(message_of([&] { layer.apply(right, right.view(), ids.view()); }), "[7, 2, 2]"));
  CHECK(contains(message_of([&] { CodebookLayer<double>(in.codes, x, in.beta, 2); }), "[G, d]"));
  CHECK(contains(message_of([&] { CodebookLayer<double>(in.codes, in.gamma, in.beta, 0); }),
                 "best 0"));
}
