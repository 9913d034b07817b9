#include "reference/quant_methods.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/smoothquant.hpp>

#include <limits>

using namespace weft;

namespace {

constexpr Index T = 7, K = 11, R = 5;

struct Layer {
  Tensor<float, 2> x = even_values<float, 2>({T, K}, 1), w = even_values<float, 2>({R, K}, 2);
  Tensor<double, 1> a{std::array<Index, 1>{K}}, most{std::array<Index, 1>{K}};

  Layer() {
    for (Index t = 0; t < T; ++t) x(t, 3) *= 50;
    quant::raise_to_absmax(a, x);
    quant::raise_to_absmax(most, w);
  }
};

/// sum_k x[t, k] w[r, k] for all t and r.
std::vector<double> outputs_of(const Tensor<double, 2>& x, const Tensor<double, 2>& w) {
  std::vector<double> y;
  for (const auto& row : reference::outputs(double_rows(x.view()), double_rows(w.view())))
    y.insert(y.end(), row.begin(), row.end());
  return y;
}

double mean_square(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

}  // namespace

TEST_CASE("smoothquant: scales between activations and weights", "[quant][quant/smoothquant]") {
  const Layer layer;
  for (const double alpha : {0., 0.3, 0.5, 1.}) {
    const auto s = quant::smoothquant_scales(layer.a, layer.most, alpha);
    for (Index k = 0; k < K; ++k) {
      CHECK(s(k) ==
            Approx(reference::smoothquant_scale(layer.a(k), layer.most(k), alpha)).epsilon(1e-14));
      if (alpha == 0.5) CHECK(layer.a(k) / s(k) == Approx(layer.most(k) * s(k)).epsilon(1e-13));
      if (alpha == 0) CHECK(layer.most(k) * s(k) == Approx(1).epsilon(1e-13));
      if (alpha == 1) CHECK(layer.a(k) / s(k) == Approx(1).epsilon(1e-13));
    }
  }
  Tensor<double, 1> dead({1}), tiny({1});
  CHECK(quant::smoothquant_scales(dead, tiny)(0) == 1e-5);
  dead(0) = 4;
  CHECK(quant::smoothquant_scales(dead, tiny)(0) == Approx(std::sqrt(4 / 1e-5)));
}

TEST_CASE("smoothquant: folded scales leave the outputs, and help int8", "[quant]") {
  const Layer layer;
  auto x = quant::doubles(layer.x), w = quant::doubles(layer.w);
  const auto exact = outputs_of(x, w);
  const auto int8_error = [&] {
    const auto y =
        quant::int8_rows_product(quant::quantize_int8_rows(x), quant::quantize_int8_rows(w));
    return mean_square(doubles_of(y.view()), exact);
  };
  const double before = int8_error();
  const auto s = quant::smoothquant_scales(layer.a, layer.most);
  quant::divide_channels(x.view().transpose(0, 1), s);
  quant::multiply_inputs(w, s);
  CHECK(largest_error(outputs_of(x, w), exact) <= 1e-14);
  CHECK(int8_error() < 0.5 * before);
}

TEST_CASE("smoothquant: producers are divided, norms and linear layers alike", "[quant]") {
  auto gamma = even_values<float, 1>({3}, 3);
  auto weight = even_values<double, 2>({3, 4}, 4);
  const auto gamma_before = gamma.clone();
  const auto weight_before = weight.clone();
  Tensor<double, 1> s({3});
  s(0) = 2, s(1) = 0.5, s(2) = 3;
  quant::divide_channels(gamma, s);
  quant::divide_channels(weight, s);
  for (Index c = 0; c < 3; ++c) {
    CHECK(static_cast<double>(gamma(c)) ==
          Approx(static_cast<double>(gamma_before(c)) / s(c)).epsilon(1e-7));
    for (Index k = 0; k < 4; ++k) CHECK(weight(c, k) == weight_before(c, k) / s(c));
  }
}

TEST_CASE("smoothquant: int8 codes per row and per tensor", "[quant]") {
  Tensor<double, 2> x({3, 2});
  x(0, 0) = -254, x(0, 1) = 3, x(1, 0) = 1e-7;  // row 2 is all 0
  const auto rows = quant::quantize_int8_rows(x);
  CHECK(rows.scale(0) == 2);
  CHECK(rows.codes(0, 0) == -127);
  CHECK(rows.codes(0, 1) == 2);  // 1.5, to even
  CHECK(rows.scale(1) == 1e-5 / 127);
  CHECK(rows.codes(1, 0) == 1);
  CHECK(rows.codes(2, 1) == 0);
  const auto all = quant::quantize_int8_rows(x, quant::Int8Scale::tensor);
  CHECK(all.scale.size() == 1);
  CHECK(all.codes(0, 0) == -127);
  CHECK(all.codes(1, 0) == 0);
  const auto y = quant::int8_rows_product(all, rows);
  CHECK(y(0, 0) == Approx(4. * (127 * 127 + 2 * 2)));
  CHECK(y(2, 0) == 0);
}

TEST_CASE("smoothquant: what it cannot do is named", "[quant]") {
  Tensor<double, 1> two({2}), three({3}), negative({2});
  negative(1) = -1;
  CHECK(contains(message_of([&] { quant::smoothquant_scales(two, three); }), "3 of weights"));
  CHECK(contains(message_of([&] { quant::smoothquant_scales(two, two, 1.5); }), "alpha is 1.5"));
  CHECK(contains(message_of([&] { quant::smoothquant_scales(negative, two); }), "channel 1"));
  Tensor<float, 2> w({2, 3});
  CHECK(contains(message_of([&] { quant::multiply_inputs(w, two); }), "2 scales for 3"));
  CHECK(contains(message_of([&] { quant::multiply_inputs(w, three); }), "scale 0 is 0"));
  CHECK(contains(message_of([&] { quant::divide_channels(w, three); }), "3 scales for 2"));
  CHECK(contains(message_of([&] { quant::raise_to_absmax(two, w); }), "[2, 3]"));
  w(1, 2) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { quant::raise_to_absmax(three, w); }), "x(1, 2)"));
  const auto a = quant::quantize_int8_rows(Tensor<double, 2>({1, 2})),
             b = quant::quantize_int8_rows(Tensor<double, 2>({1, 3}));
  CHECK(contains(message_of([&] { quant::int8_rows_product(a, b); }), "[1, 3]"));
  CHECK(contains(message_of([&] { quant::quantize_int8_rows(quant::doubles(w)); }), "x(1, 2)"));
}
