#include "reference/integer_nonlinear.hpp"
#include "reference/norm.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/integer_layer_norm.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

Tensor<std::int32_t, 2> integers(Index rows, Index cols, double largest, std::uint64_t seed) {
  const auto values = even_values<double, 2>({rows, cols}, seed, -largest, 1.2 * largest);
  Tensor<std::int32_t, 2> out({rows, cols});
  for (Index i = 0; i < out.size(); ++i)
    out.data()[i] = static_cast<std::int32_t>(std::nearbyint(values.data()[i]));
  return out;
}

reference::Integers row_of(const Tensor<std::int32_t, 2>& x, Index r) {
  return {&x(r, 0), &x(r, 0) + x.extent(1)};
}

}  // namespace

TEST_CASE("integer square roots round down", "[quant]") {
  for (std::uint64_t root : {0ull, 1ull, 2ull, 255ull, 46340ull, 65536ull, 4294967295ull}) {
    CHECK(integer_sqrt(root * root) == root);
    if (root > 0) CHECK(integer_sqrt(root * root - 1) == root - 1);
    CHECK(integer_sqrt(root * root + 2 * root) == root);
  }
  CHECK(integer_sqrt(UINT64_MAX) == 4294967295u);
  static_assert(integer_sqrt(99) == 9);
}

TEST_CASE("integer LayerNorm is that of 64-bit integers", "[quant/integer_layer_norm]") {
  const Index cols = GENERATE(1, 2, 7, 63, 64, 65, 500);
  const int shift = GENERATE(0, 3);
  const auto x = integers(4, cols, 5000, 1);
  for (Index r = 0; r < 4; ++r) {
    const auto expected = reference::integer_norm(row_of(x, r), shift);
    Tensor<std::int64_t, 1> n({cols}), portable({cols});
    const auto moments = integer_normalize(x.view().select(0, r), n.view(), shift);
    integer_normalize<Arch<xsimd::sse2>>(x.view().select(0, r), portable.view(), shift);
    CHECK(moments.mean == expected.mean);
    CHECK(moments.std == expected.std);
    CHECK(moments.factor == expected.factor);
    CHECK(reference::Integers(n.data(), n.data() + cols) == expected.n);
    CHECK(reference::Integers(portable.data(), portable.data() + cols) == expected.n);
  }
}

TEMPLATE_TEST_CASE("integer LayerNorm is close to LayerNorm", "[quant]", float, double) {
  const Index cols = 129;
  const auto x = integers(6, cols, 20000, 2);
  const auto gamma = even_values<float, 1>({cols}, 3, 0.5, 1.5);
  const auto beta = even_values<float, 1>({cols}, 4);
  Tensor<TestType, 2> out(x.shape());
  IntegerLayerNorm(gamma, beta).apply(x, out.view());
  for (Index r = 0; r < 6; ++r) {
    reference::Row row;
    for (const auto v : row_of(x, r)) row.push_back(static_cast<double>(v));
    const auto expected =
        reference::layer_norm(row, 0, doubles_of(gamma.view()), doubles_of(beta.view()));
    CHECK(largest_error(doubles_of(out.view().select(0, r)), expected) < 1e-4);
  }
}

TEST_CASE("integer LayerNorm: equal integers and zero gammas give beta", "[quant]") {
  Tensor<std::int32_t, 2> x({2, 5});
  for (Index d = 0; d < 5; ++d) {
    x(0, d) = 7;
    x(1, d) = static_cast<std::int32_t>(d * d);
  }
  Tensor<float, 1> gamma({5}), beta({5});
  for (Index d = 0; d < 5; ++d) {
    gamma(d) = d == 2 ? 0.f : 1.f;
    beta(d) = 0.25f * static_cast<float>(d);
  }
  Tensor<float, 2> out({2, 5});
  IntegerLayerNorm(gamma, beta).apply(x, out.view());
  for (Index d = 0; d < 5; ++d) CHECK(out(0, d) == beta(d));
  CHECK(out(1, 2) == beta(2));
  CHECK(out(1, 4) > beta(4));
}

TEST_CASE("integer LayerNorm: large integers need a shift and get it right", "[quant]") {
  const Index cols = 40;
  const auto x = integers(2, cols, 1e8, 5);
  Tensor<float, 1> gamma({cols}), beta({cols});
  std::fill_n(gamma.data(), cols, 1.f);
  Tensor<double, 2> out(x.shape());
  CHECK(contains(message_of([&] { IntegerLayerNorm(gamma, beta).apply(x, out.view()); }),
                 "larger shift"));
  IntegerLayerNorm(gamma, beta, 8).apply(x, out.view());
  const auto expected = reference::integer_norm(row_of(x, 1), 8);
  CHECK(expected.factor > 0);
  for (Index d = 0; d < cols; ++d)
    CHECK(out(1, d) == Approx(static_cast<double>(expected.n[static_cast<std::size_t>(d)]) *
                              std::sqrt(40.) * 0x1p-30));
}

TEST_CASE("integer LayerNorm refuses shapes and numbers", "[quant]") {
  Tensor<float, 1> gamma({3}), beta({3}), other({2});
  CHECK(contains(message_of([&] { IntegerLayerNorm(gamma, other); }), "beta"));
  CHECK(contains(message_of([&] { IntegerLayerNorm(gamma, beta, 32); }), "shift"));
  beta(1) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { IntegerLayerNorm(gamma, beta); }), "channel 1"));
  beta(1) = 0;
  Tensor<std::int32_t, 2> x({2, 4});
  Tensor<float, 2> out({2, 4});
  CHECK(contains(message_of([&] { IntegerLayerNorm(gamma, beta).apply(x, out.view()); }),
                 "3 channels"));
}

TEST_CASE("power-of-two factors follow the ranges of channels", "[quant]") {
  const Index tokens = 50, channels = 5;
  auto x = even_values<float, 2>({tokens, channels}, 6);
  for (Index t = 0; t < tokens; ++t)
    for (Index c = 0; c < channels; ++c) x(t, c) *= std::ldexp(1.f, static_cast<int>(c) - 1);
  const auto factors = power_of_two_factors(x, unsigned_codes(8));
  CHECK(factors.factor(0) == 0);
  CHECK(factors.factor(4) == 3);
  for (Index c = 1; c < channels; ++c) CHECK(factors.factor(c) >= factors.factor(c - 1));
  for (Index c = 0; c < channels; ++c) {
    // No other factor is better.
    const auto error = [&](int factor) {
      double sum = 0;
      for (Index t = 0; t < tokens; ++t) {
        const double v = static_cast<double>(x(t, c)), step = std::ldexp(factors.scale, factor);
        const double code = std::nearbyint(v / step + factors.zero);
        const double d = v - step * (std::min(std::max(code, 0.0), 255.0) - factors.zero);
        sum += d * d;
      }
      return sum;
    };
    for (int other = 0; other < 4; ++other) CHECK(error(factors.factor(c)) <= error(other));
    const double v = static_cast<double>(x(3, c));
    const int code = factors.encode(v, c);
    CHECK(factors.decode(code, c) == Approx(factors.align(code, c) * factors.scale));
  }
}

TEST_CASE("power-of-two factors of one number and of none", "[quant]") {
  Tensor<float, 2> x({3, 2});
  const auto zeros = power_of_two_factors(x, unsigned_codes(8));
  CHECK(zeros.decode(zeros.encode(0, 0), 0) == 0);
  x(1, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(message_of([&] { power_of_two_factors(x, unsigned_codes(8)); }), "range"));
  CHECK_THROWS_AS(power_of_two_factors(Tensor<float, 2>({0, 2}), unsigned_codes(8)), weft::error);
}
