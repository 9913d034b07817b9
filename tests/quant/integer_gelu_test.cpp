#include "reference/integer_nonlinear.hpp"
#include "reference/normalizer.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/quant/integer_gelu.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

Tensor<std::int32_t, 2> ramp(Index rows, Index cols, std::int32_t step) {
  Tensor<std::int32_t, 2> x({rows, cols});
  for (Index i = 0; i < x.size(); ++i)
    x.data()[i] = static_cast<std::int32_t>(i - x.size() / 2) * step;
  return x;
}

}  // namespace

TEST_CASE("integer GELU is that of 64-bit integers", "[quant/integer_gelu]") {
  const double scale = GENERATE(0.5, 0.01, 0.0001220703125, 3e-6);
  const Index cols = GENERATE(1, 7, 64, 65, 300);
  auto x = ramp(3, cols, static_cast<std::int32_t>(8 / scale / static_cast<double>(cols)) + 1);
  x(0, 0) = INT32_MIN;
  x(2, cols - 1) = INT32_MAX;
  Tensor<std::int64_t, 2> y(x.shape()), portable(x.shape());
  const IntegerGelu gelu(scale);
  integer_gelu(gelu, x, y.view());
  integer_gelu<Arch<xsimd::sse2>>(gelu, x, portable.view());
  Index wrong = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const std::int64_t expected = reference::integer_gelu(x.data()[i], scale);
    wrong += y.data()[i] != expected || portable.data()[i] != expected;
  }
  CHECK(wrong == 0);
}

TEST_CASE("integer GELU is close to GELU at fine scales", "[quant]") {
  const double scale = 1e-4;
  const auto x = ramp(1, 4000, 40);
  Tensor<std::int64_t, 2> y(x.shape());
  const IntegerGelu gelu(scale);
  integer_gelu(gelu, x, y.view());
  double worst = 0;
  for (Index i = 0; i < x.size(); ++i) {
    const double got = static_cast<double>(y.data()[i]) * gelu.scale();
    worst = std::max(worst, std::abs(got - reference::gelu(x.data()[i] * scale)));
  }
  CHECK(worst < 0.02);
  CHECK(worst > 0.01);
}

TEST_CASE("integer GELU refuses scales and shapes", "[quant]") {
  CHECK(contains(message_of([] { IntegerGelu(1e-7); }), "2^-20"));
  CHECK(contains(message_of([] { IntegerGelu(2); }), "2^-20"));
  Tensor<std::int32_t, 2> x({2, 3});
  Tensor<std::int64_t, 2> y({3, 2});
  CHECK(contains(message_of([&] { integer_gelu(IntegerGelu(1e-3), x, y.view()); }), "same shape"));
}
