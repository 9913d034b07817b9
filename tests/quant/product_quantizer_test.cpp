#include "reference/codebook.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/product_quantizer.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

reference::Vector part_of(const reference::Vector& x, Index part, Index dim) {
  return {x.begin() + part * dim, x.begin() + (part + 1) * dim};
}

}  // namespace

TEMPLATE_TEST_CASE("each part becomes its nearest code", "[quant/product_quantization]",
                   std::uint8_t, std::uint16_t, std::int32_t) {
  using Code = TestType;
  const Index N = 50, m = GENERATE(1, 3, 4, 9), K = 16, d = 5;
  const auto books = even_values<float, 3>({m, K, d}, 1);
  const auto x = even_values<float, 2>({N, m * d}, 2);
  const ProductQuantizer<float> quantizer(books);
  Tensor<Code, 2> codes({N, m});
  Poisoned<float, 2> recon({N, m * d});
  quantizer.encode(x, codes.view());
  quantizer.template decode<Code>(codes, recon.view());
  CHECK(recon.guards_intact());
  Index wrong = 0;
  for (Index n = 0; n < N; ++n)
    for (Index i = 0; i < m; ++i) {
      const auto part = part_of(doubles_of(x.view().select(0, n)), i, d);
      const std::size_t best = reference::nearest(part, double_rows(books.view().select(0, i)));
      wrong += best != static_cast<std::size_t>(codes(n, i));
      for (Index c = 0; c < d; ++c)
        wrong += recon.view()(n, i * d + c) != books(i, static_cast<Index>(best), c);
    }
  CHECK(wrong == 0);
}

TEST_CASE("table scores are those of the decoded vectors", "[quant/product_quantization]") {
  using T = float;
  const Index N = 70, m = GENERATE(1, 2, 4, 7, 16), K = 32, d = 3, Q = 3;
  const auto books = even_values<T, 3>({m, K, d}, 3);
  const auto x = even_values<T, 2>({N, m * d}, 4), q = even_values<T, 2>({Q, m * d}, 5);
  const ProductQuantizer<T> quantizer(books);
  Tensor<std::uint8_t, 2> codes({N, m});
  Tensor<T, 2> recon({N, m * d});
  quantizer.encode(x, codes.view());
  quantizer.decode<std::uint8_t>(codes, recon.view());
  for (const TableOf what : {TableOf::products, TableOf::squared_distances}) {
    Tensor<T, 3> tables({Q, m, K});
    quantizer.tables(q, what, tables.view());
    Poisoned<T, 1> scores({N});
    look_up_scores<T, std::uint8_t>(tables.view().select(0, 1), codes, scores.view());
    std::vector<double> expected;
    for (Index n = 0; n < N; ++n) {
      const auto a = doubles_of(recon.view().select(0, n)), b = doubles_of(q.view().select(0, 1));
      double product = 0;
      for (std::size_t c = 0; c < a.size(); ++c) product += a[c] * b[c];
      expected.push_back(what == TableOf::products ? product : reference::squared_distance(a, b));
    }
    const double eps = static_cast<double>(std::numeric_limits<T>::epsilon());
    CHECK(largest_error(doubles_of(scores.view()), expected) < 16 * eps);
    CHECK(scores.guards_intact());
  }
}

TEST_CASE("one part is vector quantization", "[quant]") {
  const auto books = even_values<float, 3>({1, 40, 6}, 6);
  const auto x = even_values<float, 2>({25, 6}, 7);
  Tensor<std::int32_t, 2> codes({25, 1});
  Tensor<std::int32_t, 1> ids({25});
  ProductQuantizer<float>(books).encode(x, codes.view());
  VectorQuantizer<float>(books.view().select(0, 0)).encode(x, ids.view());
  CHECK(std::equal(ids.data(), ids.data() + 25, codes.data()));
}

TEST_CASE("product codebooks are learned part by part", "[quant/product_quantization]") {
  const auto x = even_values<float, 2>({60, 6}, 8), flat = even_values<float, 2>({12, 2}, 9);
  const auto init = flat.view().reshape<3>({3, 4, 2});
  const auto books = product_codebooks<DefaultArch, float>(x, init, 4);
  for (Index i = 0; i < 3; ++i) {
    const auto expected = reference::k_means(double_rows(x.view().slice(1, 2 * i, 2)),
                                             double_rows(init.select(0, i)), 4);
    for (Index j = 0; j < 4; ++j)
      CHECK(books(i, j, 1) == Approx(expected[static_cast<std::size_t>(j)][1]).epsilon(1e-6));
  }
}

TEST_CASE("product quantization refuses what does not fit", "[quant]") {
  const auto books = even_values<float, 3>({2, 300, 2}, 10);
  const ProductQuantizer<float> quantizer(books);
  Tensor<float, 2> x({3, 4});
  Tensor<std::uint8_t, 2> bytes({3, 2});
  Tensor<std::uint16_t, 2> words({3, 3}), codes({3, 2});
  CHECK(contains(message_of([&] { quantizer.encode(x, bytes.view()); }), "8 bits"));
  CHECK(contains(message_of([&] { quantizer.encode(x, words.view()); }), "wanted"));
  codes(1, 1) = 300;
  CHECK(
      contains(message_of([&] { quantizer.decode<std::uint16_t>(codes, x.view()); }), "code 300"));
  Tensor<float, 3> tables({3, 2, 299});
  CHECK(contains(message_of([&] { quantizer.tables(x, TableOf::products, tables.view()); }),
                 "wanted"));
  Tensor<float, 1> scores({2});
  Tensor<float, 2> table({2, 300});
  CHECK(contains(
      message_of([&] { look_up_scores<float, std::uint16_t>(table, codes, scores.view()); }),
      "[N, m]"));
  CHECK_THROWS_AS(ProductQuantizer<float>(Tensor<float, 3>({0, 3, 2})), weft::error);
}
