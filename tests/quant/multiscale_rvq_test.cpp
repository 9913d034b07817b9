#include "reference/codebook.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/multiscale_rvq.hpp>

using namespace weft;
using namespace weft::quant;

TEST_CASE("scales are quantized one after the other", "[quant/multiscale_rvq]") {
  const Index N = GENERATE(1, 5, 12, 31), D = 3;
  std::vector<Index> scales;
  for (const Index n : {1, 2, 3, 7, 12, 31})
    if (n <= N) scales.push_back(n);
  const auto codes = even_values<double, 2>({11, D}, 1),
             x = even_values<double, 2>({N, D}, 2, -2, 2);
  const MultiscaleQuantizer<double> quantizer(codes, scales);
  Tensor<std::int32_t, 1> ids({quantizer.tokens()});
  Poisoned<double, 2> residual(x.shape()), recon(x.shape());
  quantizer.encode(x, ids.view(), residual.view());
  quantizer.decode(ids, recon.view());

  auto left = double_rows(x.view());
  const auto book = double_rows(codes.view());
  std::vector<std::size_t> expected;
  for (const Index n : scales) {
    const auto of_scale = reference::residual_scale(left, book, static_cast<std::size_t>(n));
    expected.insert(expected.end(), of_scale.begin(), of_scale.end());
  }
  CHECK(std::equal(expected.begin(), expected.end(), ids.data(),
                   [](std::size_t a, std::int32_t b) { return a == static_cast<std::size_t>(b); }));
  for (Index t = 0; t < N; ++t)
    for (Index d = 0; d < D; ++d) {
      const double r = residual.view()(t, d);
      CHECK(r ==
            Approx(left[static_cast<std::size_t>(t)][static_cast<std::size_t>(d)]).margin(1e-13));
      CHECK(r + recon.view()(t, d) == Approx(x(t, d)).margin(1e-13));
    }
  CHECK(residual.guards_intact());
  CHECK(recon.guards_intact());
}

TEST_CASE("the first scales can be decoded by themselves", "[quant]") {
  const auto codes = even_values<double, 2>({5, 2}, 3), x = even_values<double, 2>({8, 2}, 4);
  const MultiscaleQuantizer<double> all(codes, {2, 4, 8}), two(codes, {2, 4});
  Tensor<std::int32_t, 1> ids({14}), first({6});
  Tensor<double, 2> residual(x.shape()), a(x.shape()), b(x.shape());
  all.encode(x, ids.view(), residual.view());
  two.encode(x, first.view(), residual.view());
  all.decode(ids.view().slice(0, 0, 6), a.view());
  two.decode(first, b.view());
  CHECK(std::equal(a.data(), a.data() + a.size(), b.data()));
  CHECK(contains(message_of([&] { all.decode(ids.view().slice(0, 0, 7), a.view()); }), "within"));
}

TEST_CASE("one scale of all tokens is vector quantization", "[quant]") {
  const auto codes = even_values<double, 2>({6, 4}, 5), x = even_values<double, 2>({9, 4}, 6);
  Tensor<std::int32_t, 1> ids({9}), expected({9});
  Tensor<double, 2> residual(x.shape());
  MultiscaleQuantizer<double>(codes, {9}).encode(x, ids.view(), residual.view());
  VectorQuantizer<double>(codes).encode(x, expected.view());
  CHECK(std::equal(ids.data(), ids.data() + 9, expected.data()));
}

TEST_CASE("multi-scale quantization refuses shapes", "[quant]") {
  const auto codes = even_values<double, 2>({6, 4}, 7);
  const MultiscaleQuantizer<double> quantizer(codes, {1, 5});
  Tensor<double, 2> x({4, 4}), narrow({5, 3});
  Tensor<std::int32_t, 1> ids({6}), five({5});
  CHECK(contains(message_of([&] { quantizer.encode(x, ids.view(), x.view()); }), "5 tokens for 4"));
  CHECK(contains(message_of([&] { quantizer.encode(narrow, ids.view(), narrow.view()); }),
                 "4 channels"));
  CHECK(contains(message_of([&] { quantizer.encode(x, five.view(), x.view()); }), "6 ids"));
  CHECK(contains(message_of([&] { MultiscaleQuantizer<double>(codes, {0}); }), "scale of 0"));
}
