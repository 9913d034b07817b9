#include "reference/repq.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/log_sqrt2.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

/// Probabilities of a softmax, rows that sum to one.
template <class T>
Tensor<T, 2> probabilities(Index rows, Index cols, std::uint64_t seed) {
  const auto logits = even_values<double, 2>({rows, cols}, seed, -12, 0);
  Tensor<T, 2> p({rows, cols});
  for (Index r = 0; r < rows; ++r) {
    double sum = 0;
    for (Index j = 0; j < cols; ++j) sum += std::exp(logits(r, j));
    for (Index j = 0; j < cols; ++j) p(r, j) = static_cast<T>(std::exp(logits(r, j)) / sum);
  }
  return p;
}

}  // namespace

TEST_CASE("log sqrt 2 codes are those of the logarithm", "[quant/repq_vit]") {
  const int bits = GENERATE(1, 3, 4, 7);
  const auto p = probabilities<double>(20, 50, 1);
  const auto grid = log_sqrt2_grid<double>(p, bits);
  for (const double v : p.span()) {
    const int code = grid.encode(v);
    REQUIRE(code == reference::log_sqrt2_code(v, grid.delta, bits));
    CHECK(grid.decode(code) ==
          Approx(reference::log_sqrt2_value(code, grid.delta, bits)).epsilon(1e-14));
  }
}

TEST_CASE("log sqrt 2: delta is the best of three percentiles", "[quant]") {
  const auto p = probabilities<double>(40, 60, 2);
  const auto grid = log_sqrt2_grid<double>(p, 4);
  const auto values = doubles_of(p.view());
  const auto error = [&](double delta) {
    return reference::total_squared_error(values, [&](double v) {
      return reference::log_sqrt2_value(reference::log_sqrt2_code(v, delta, 4), delta, 4);
    });
  };
  bool found = false;
  for (const double q : {0.999, 0.9999, 0.99999}) {
    const double delta = reference::quantile(values, q);
    found |= std::abs(delta - grid.delta) < 1e-12;
    CHECK(error(grid.delta) <= error(delta) * (1 + 1e-9));
  }
  CHECK(found);
}

TEST_CASE("log sqrt 2: values fall with the code and are kept", "[quant]") {
  const LogSqrt2Grid grid{0.7, 6};
  for (int code = 0; code < grid.flushed(); ++code) {
    CHECK(grid.decode(code + 1) < grid.decode(code));
    CHECK(grid.encode(grid.decode(code)) == code);
  }
  CHECK(grid.decode(grid.flushed()) == 0);
  CHECK(grid.encode(0) == grid.flushed());
  CHECK(grid.encode(1) == 0);
  CHECK(grid.encode(1e-310) == grid.flushed());
  CHECK(std::isnan(grid.round_trip(std::numeric_limits<double>::quiet_NaN())));
  const LogSqrt2Grid nothing{0, 4};
  CHECK(nothing.round_trip(0.3) == 0);
}

TEST_CASE("log sqrt 2: rows of fp32 get the same codes", "[quant]") {
  const Index cols = GENERATE(1, 15, 16, 17, 100);
  auto p = probabilities<float>(9, cols, 3);
  p(1, 0) = 0;
  p(2, 0) = std::numeric_limits<float>::quiet_NaN();
  p(3, 0) = 1e-42f;
  const auto grid = LogSqrt2Grid{0.6, 5};
  Tensor<std::uint8_t, 2> codes(p.shape()), portable(p.shape());
  log_sqrt2_encode(grid, p, codes.view());
  log_sqrt2_encode<Arch<xsimd::sse2>>(grid, p, portable.view());
  Index wrong = 0;
  for (Index i = 0; i < p.size(); ++i) {
    const int expected = grid.encode(static_cast<double>(p.data()[i]));
    wrong += codes.data()[i] != expected || portable.data()[i] != expected;
  }
  CHECK(wrong == 0);
}

TEST_CASE("log sqrt 2: products by shifts", "[quant/repq_vit]") {
  const int bits = GENERATE(3, 4, 7);
  const Index keys = 75, cols = GENERATE(1, 16, 40, 64);
  const auto p = probabilities<float>(18, keys, 4);
  const auto grid = log_sqrt2_grid<float>(p, bits);
  Tensor<std::uint8_t, 2> codes(p.shape());
  log_sqrt2_encode(grid, p, codes.view());
  Tensor<std::int8_t, 2> v({keys, cols});
  for (Index i = 0; i < v.size(); ++i) v.data()[i] = static_cast<std::int8_t>(i * 53 % 255 - 127);
  Poisoned<float, 2> out({18, cols});
  log_sqrt2_product(grid, codes, v, 0.02, out.view());
  std::vector<double> expected;
  for (Index n = 0; n < 18; ++n)
    for (Index e = 0; e < cols; ++e) {
      double sum = 0;
      for (Index m = 0; m < keys; ++m)
        sum += reference::log_sqrt2_value(codes(n, m), grid.delta, bits) * v(m, e);
      expected.push_back(0.02 * sum);
    }
  CHECK(out.guards_intact());
  // 16 fractional bits, floored 75 times at most.
  CHECK(largest_error(doubles_of(out.view()), expected) < (bits == 7 ? 1e-3 : 1e-6));
}

TEST_CASE("log sqrt 2 refuses what does not fit", "[quant]") {
  Tensor<float, 2> p({2, 3});
  Tensor<std::uint8_t, 2> codes({2, 4});
  CHECK(contains(message_of([&] { log_sqrt2_grid<float>(p, 9); }), "1 to 8"));
  CHECK(contains(message_of([&] { log_sqrt2_encode({1, 4}, p, codes.view()); }), "same shape"));
  CHECK(contains(message_of([&] { log_sqrt2_encode({-1, 4}, p, codes.view()); }), "delta"));
  Tensor<std::int8_t, 2> v({3, 2});
  Tensor<float, 2> out({2, 2});
  CHECK(contains(message_of([&] {
                   log_sqrt2_product({1, 4}, codes, v, 1, out.view());
                 }),
                 "wanted"));
  p(0, 1) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { log_sqrt2_grid<float>(p, 4); }), "finite"));
}
