#include "reference/codebook.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/k_means.hpp>
#include <weft/quant/vector_quantizer.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

/// How much further than the nearest code the codes of ids are, at most, in squared distance.
double worst_excess(const Tensor<float, 2>& x, const Tensor<float, 2>& codes,
                    const Tensor<std::int32_t, 1>& ids) {
  const auto book = double_rows(codes.view()), points = double_rows(x.view());
  double worst = 0;
  for (std::size_t n = 0; n < points.size(); ++n) {
    const std::size_t best = reference::nearest(points[n], book);
    const auto got = static_cast<std::size_t>(ids(static_cast<Index>(n)));
    worst = std::max(worst, reference::squared_distance(points[n], book[got]) -
                                reference::squared_distance(points[n], book[best]));
  }
  return worst;
}

}  // namespace

TEST_CASE("vectors become their nearest codes", "[quant/vector_quantization]") {
  const Index K = GENERATE(1, 2, 15, 16, 17, 33, 500), D = GENERATE(1, 3, 64);
  const auto codes = even_values<float, 2>({K, D}, 1), x = even_values<float, 2>({70, D}, 2);
  Tensor<std::int32_t, 1> ids({70});
  VectorQuantizer<float>(codes).encode(x, ids.view());
  // Scores of D terms of magnitude up to D are rounded to D epsilon or so.
  CHECK(worst_excess(x, codes, ids) <= 1e-7 * static_cast<double>(D));
}

TEST_CASE("more vectors than are scored at once", "[quant/vector_quantization]") {
  const Index N = 900, K = 1000, D = 20;
  const auto codes = even_values<float, 2>({K, D}, 3), x = even_values<float, 2>({N, D}, 4);
  Tensor<std::int32_t, 1> ids({N});
  VectorQuantizer<float>(codes).encode(x, ids.view());
  CHECK(worst_excess(x, codes, ids) <= 1e-7 * static_cast<double>(D));
}

TEST_CASE("equal codes: the first is taken", "[quant]") {
  Tensor<float, 2> codes({40, 2}), x({1, 2});
  for (Index j = 0; j < 40; ++j) codes(j, 0) = static_cast<float>(j / 20);
  x(0, 0) = 0.9f;
  Tensor<std::int32_t, 1> ids({1});
  VectorQuantizer<float>(codes).encode(x, ids.view());
  CHECK(ids(0) == 20);
}

TEST_CASE("vector quantization refuses what has no nearest code", "[quant]") {
  auto codes = even_values<float, 2>({5, 3}, 5);
  const VectorQuantizer<float> quantizer(codes);
  Tensor<float, 2> x({4, 3}), narrow({4, 2}), out({4, 3});
  Tensor<std::int32_t, 1> ids({4}), short_ids({3});
  x(2, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(message_of([&] { quantizer.encode(x, ids.view()); }), "row 2"));
  x(2, 1) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { quantizer.encode(x, ids.view()); }), "row 2"));
  CHECK(contains(message_of([&] { quantizer.encode(narrow, ids.view()); }), "3 channels"));
  CHECK(contains(message_of([&] { quantizer.encode(x, short_ids.view()); }), "4 rows"));
  ids(1) = 5;
  CHECK(contains(message_of([&] { quantizer.decode(ids, out.view()); }), "code 5"));
  CHECK_THROWS_AS(VectorQuantizer<float>(Tensor<float, 2>({0, 3})), weft::error);
  codes(3, 1) = x(2, 1);
  CHECK(contains(message_of([&] { VectorQuantizer<float> bad(codes); }), "code 3"));
  Tensor<float, 2> none({0, 3});
  Tensor<std::int32_t, 1> no_ids({0});
  CHECK_NOTHROW(quantizer.encode(none, no_ids.view()));
}

TEST_CASE("vector quantization does not depend on the threads", "[quant]") {
  const auto codes = even_values<float, 2>({300, 8}, 6), x = even_values<float, 2>({999, 8}, 7);
  const VectorQuantizer<float> quantizer(codes);
  CHECK(same_for_any_threads([&](const Context& context) {
    Tensor<std::int32_t, 1> ids({999});
    quantizer.encode(x, ids.view(), context);
    return std::vector<std::int32_t>(ids.data(), ids.data() + ids.size());
  }));
}

TEST_CASE("residual quantization goes on with what is left", "[quant/vector_quantization]") {
  const Index N = 31, L = 4, K = 9, D = 7;
  const auto codes = even_values<float, 3>({L, K, D}, 8);
  const auto x = even_values<float, 2>({N, D}, 9);
  const ResidualQuantizer<float> quantizer(codes);
  Tensor<std::int32_t, 2> ids({N, L}), again({N, L});
  Poisoned<float, 2> residual({N, D}), recon({N, D});
  quantizer.encode(x, ids.view(), residual.view());
  quantizer.encode(x, again.view());
  quantizer.decode(ids, recon.view());
  CHECK(std::equal(ids.data(), ids.data() + N * L, again.data()));
  Index wrong = 0;
  for (Index n = 0; n < N; ++n) {
    auto left = doubles_of(x.view().select(0, n));
    for (Index l = 0; l < L; ++l) {
      const auto stage = double_rows(codes.view().select(0, l));
      const std::size_t best = reference::nearest(left, stage);
      wrong += best != static_cast<std::size_t>(ids(n, l));
      for (std::size_t d = 0; d < left.size(); ++d) left[d] -= stage[best][d];
    }
    for (Index d = 0; d < D; ++d) {
      CHECK(double(residual.view()(n, d)) ==
            Approx(left[static_cast<std::size_t>(d)]).margin(1e-6));
      CHECK(residual.view()(n, d) + recon.view()(n, d) == Approx(double(x(n, d))).margin(1e-6));
    }
  }
  CHECK(wrong == 0);
  CHECK(recon.guards_intact());
}

TEST_CASE("residuals do not grow where every codebook holds zero", "[quant]") {
  auto codes = even_values<float, 3>({5, 6, 4}, 10);
  for (Index l = 0; l < 5; ++l)
    for (Index d = 0; d < 4; ++d) codes(l, 2, d) = 0;
  const auto x = even_values<float, 2>({20, 4}, 11);
  double before = INFINITY;
  for (Index stages = 1; stages <= 5; ++stages) {
    Tensor<std::int32_t, 2> ids({20, stages});
    Tensor<float, 2> residual({20, 4});
    ResidualQuantizer<float>(codes.view().slice(0, 0, stages))
        .encode(x, ids.view(), residual.view());
    double square = 0;
    for (const float v : residual.span()) square += double(v) * double(v);
    CHECK(square <= before);
    before = square;
  }
}

TEST_CASE("residual quantization refuses shapes", "[quant]") {
  const auto codes = even_values<float, 3>({2, 3, 4}, 12);
  const ResidualQuantizer<float> quantizer(codes);
  Tensor<float, 2> x({5, 4});
  Tensor<std::int32_t, 2> ids({5, 3});
  CHECK(contains(message_of([&] { quantizer.encode(x, ids.view()); }), "2 stages"));
  CHECK(contains(message_of([&] { quantizer.decode(ids, x.view()); }), "2 stages"));
  CHECK_THROWS_AS(ResidualQuantizer<float>(Tensor<float, 3>({0, 3, 4})), weft::error);
}

TEST_CASE("k-means is Lloyd's iteration", "[quant/vector_quantization]") {
  const auto x = even_values<float, 2>({90, 3}, 13);
  auto init = sample_rows<float>(x, 7, 14);
  for (Index d = 0; d < 3; ++d) init(4, d) = 100;  // has no points and stays
  const int iterations = GENERATE(0, 1, 5);
  const auto got = k_means<DefaultArch, float>(x, init, iterations);
  const auto points = double_rows(x.view());
  const auto expected = reference::k_means(points, double_rows(init.view()), iterations);
  CHECK(largest_error(doubles_of(got.centroids.view().slice(0, 0, 4)), [&] {
          std::vector<double> flat;
          for (std::size_t j = 0; j < 4; ++j)
            flat.insert(flat.end(), expected[j].begin(), expected[j].end());
          return flat;
        }()) < 1e-6);
  CHECK(got.centroids(4, 1) == 100);
  CHECK(got.inertia == Approx(reference::inertia(points, expected)).epsilon(1e-6));
}

TEST_CASE("k-means does not raise the inertia", "[quant]") {
  const auto x = even_values<float, 2>({400, 6}, 15);
  const auto init = sample_rows<float>(x, 20, 16);
  double before = INFINITY;
  for (int iterations = 0; iterations < 8; ++iterations) {
    const double inertia = k_means<DefaultArch, float>(x, init, iterations).inertia;
    CHECK(inertia <= before * (1 + 1e-6));
    before = inertia;
  }
}

TEST_CASE("sampled rows are different rows", "[quant]") {
  Tensor<float, 2> x({30, 1});
  for (Index n = 0; n < 30; ++n) x(n, 0) = static_cast<float>(n);
  auto rows = sample_rows<float>(x, 30, 17);
  std::sort(rows.data(), rows.data() + 30);
  for (Index n = 0; n < 30; ++n) CHECK(rows(n, 0) == static_cast<float>(n));
  CHECK_THROWS_AS(sample_rows<float>(x, 31, 17), weft::error);
  CHECK_THROWS_AS((k_means<DefaultArch, float>(x, x, -1)), weft::error);
}
