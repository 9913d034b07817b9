#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/linear/gates.hpp>

using namespace weft;

namespace {

double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

}  // namespace

TEST_CASE("gates: agree with their equations, in place and by strides", "[linear]") {
  auto x = even_values<double, 3>({2, 5, 3}, 1, -40, 40);  // [B, N, H]
  const auto logs = even_values<double, 1>({3}, 2), bias = even_values<double, 1>({3}, 3);
  const auto before = x.clone();
  Tensor<double, 3> beta({2, 3, 5});
  sigmoid_gate(x.view().transpose(1, 2), beta, 2);
  softplus_gate(x.view().transpose(1, 2), logs, bias, x.view().transpose(1, 2));
  for (Index b = 0; b < 2; ++b)
    for (Index t = 0; t < 5; ++t)
      for (Index h = 0; h < 3; ++h) {
        const double value = before(b, t, h);
        CHECK(std::abs(beta(b, h, t) - 2 / (1 + std::exp(-value))) <= 1e-15);
        CHECK(std::abs(x(b, t, h) + std::exp(logs(h)) * softplus(value + bias(h))) <= 1e-13);
      }
}

TEST_CASE("gates: log sigmoid over channels, with a bound and with NaN", "[linear]") {
  auto x = even_values<float, 4>({1, 2, 3, 21}, 1, -50, 50);
  x(0, 1, 2, 20) = std::numeric_limits<float>::quiet_NaN();
  Tensor<float, 4> out({1, 2, 3, 21});
  log_sigmoid_gate(x, out, 16, -2);
  for (Index i = 0; i + 1 < x.size(); ++i) {
    const double wanted = std::max(-softplus(-double(x.data()[i])) / 16, -2.0);
    CHECK(std::abs(out.data()[i] - wanted) <= 4 * std::abs(wanted) * 0x1p-23);
  }
  CHECK(std::isnan(out(0, 1, 2, 20)));
}

TEST_CASE("gates: what does not fit is refused", "[linear]") {
  Tensor<float, 3> x({1, 2, 3}), other({1, 2, 4});
  const Tensor<float, 1> two({2}), three({3});
  CHECK(contains(message_of([&] { sigmoid_gate(x, other); }), "sigmoid_gate: x is"));
  CHECK(contains(message_of([&] { softplus_gate(x, three, two, x); }), "for 2 heads"));
  Tensor<float, 4> y({1, 1, 2, 3});
  CHECK(contains(message_of([&] { log_sigmoid_gate(y, y, 0); }), "must be positive"));
}
