#include "reference/hadamard.hpp"

#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/hadamard.hpp>

#include <cmath>
#include <limits>

using namespace weft;

namespace {

/// Twice the bound of the header on the error relative to the largest element of a row.
template <class T>
double tolerance(Index n) {
  return 2 * static_cast<double>(std::numeric_limits<T>::epsilon()) *
         (1 + std::log2(static_cast<double>(n)));
}

double length(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

}  // namespace

TEMPLATE_TEST_CASE("hadamard: the transform is the product with the matrix",
                   "[quant][quant/hadamard]", float, double) {
  using T = TestType;
  // Every shape of the first pass, and one to three passes after it.
  for (Index n = 1; n <= 8192; n *= 2) {
    const auto x = even_values<T, 2>({3, n}, 1);
    Poisoned<T, 2> y({3, n});
    quant::hadamard_transform(x, y.view());
    INFO("n = " << n);
    CHECK(y.guards_intact());
    const Index rows = n > 512 ? 1 : 3;
    for (Index r = 0; r < rows; ++r)
      CHECK(largest_error(doubles_of(View<const T, 1>(y.view().select(0, r))),
                          reference::hadamard(doubles_of(x.view().select(0, r)))) <=
            tolerance<T>(n));
  }
}

TEST_CASE("hadamard: in place, strided rows and its own inverse", "[quant]") {
  constexpr Index n = 128;
  const auto x = even_values<double, 3>({2, 3, n + 8}, 2);
  const View<const double, 3> part = x.view().slice(2, 4, n);
  Tensor<double, 3> y({2, 3, n});
  quant::hadamard_transform(part, y);
  for (Index i = 0; i < 2; ++i)
    for (Index j = 0; j < 3; ++j)
      CHECK(length(doubles_of(std::as_const(y).view().select(0, i).select(0, j))) ==
            Approx(length(doubles_of(part.select(0, i).select(0, j)))).epsilon(1e-14));
  quant::hadamard_transform(y, y);
  CHECK(largest_error(doubles_of(y.view()), doubles_of(part)) <= tolerance<double>(n));
}

TEST_CASE("hadamard: one entry becomes a row of constant magnitude", "[quant]") {
  constexpr Index n = 64;
  for (Index at : {0, 1, 37, 63}) {
    Tensor<float, 1> x({n}), y({n});
    x(at) = -4;
    quant::hadamard_transform(x, y);
    for (Index i = 0; i < n; ++i) CHECK(std::abs(y(i)) == 0.5f);
  }
}

TEST_CASE("hadamard: rotations of any size keep products", "[quant]") {
  constexpr Index tokens = 5, outputs = 4;
  for (const Index n : {1, 7, 24, 48, 96, 128}) {
    const auto signs = quant::random_signs<double>(n, 9);
    const quant::HadamardRotation<double> rotation(signs.view());
    CHECK(n % rotation.block() == 0);
    CHECK(n / rotation.block() % 2 == 1);
    const auto x = even_values<double, 2>({tokens, n}, 3),
               w = even_values<double, 2>({outputs, n}, 4);
    Tensor<double, 2> rotated_x(x.shape()), rotated_w(w.shape()), back(x.shape());
    rotation.apply(x, rotated_x);
    rotation.apply(w, rotated_w);
    rotation.undo(rotated_x, back);
    INFO("n = " << n);
    CHECK(largest_error(doubles_of(back.view()), doubles_of(x.view())) <= tolerance<double>(n));
    for (Index t = 0; t < tokens; ++t) {
      const auto row = [&](const Tensor<double, 2>& of, Index i) {
        return doubles_of(of.view().select(0, i));
      };
      CHECK(largest_error(row(rotated_x, t),
                          reference::rotated(row(x, t), doubles_of(signs.view()),
                                             static_cast<std::size_t>(rotation.block()))) <=
            tolerance<double>(n));
      for (Index o = 0; o < outputs; ++o) {
        double before = 0, after = 0;
        for (Index i = 0; i < n; ++i) {
          before += x(t, i) * w(o, i);
          after += rotated_x(t, i) * rotated_w(o, i);
        }
        CHECK(after == Approx(before).margin(1e-13));
      }
    }
  }
}

TEST_CASE("hadamard: without signs a rotation is the transform of its blocks", "[quant]") {
  const auto x = even_values<float, 2>({2, 96}, 5);
  Tensor<float, 2> y({2, 96}), blocks({6, 32});
  const quant::HadamardRotation<float> rotation(96);
  rotation.apply(x, y);
  quant::hadamard_transform(x.view().reshape<2>({6, 32}), blocks);
  CHECK(doubles_of(y.view()) == doubles_of(blocks.view()));
}

TEST_CASE("hadamard: signs are random, reproducible and of both kinds", "[quant]") {
  const auto a = quant::random_signs(1000, 1), b = quant::random_signs(1000, 1);
  const auto other = quant::random_signs(1000, 2);
  CHECK(doubles_of(a.view()) == doubles_of(b.view()));
  CHECK(doubles_of(a.view()) != doubles_of(other.view()));
  double sum = 0;
  for (const float s : a.span()) {
    CHECK(std::abs(s) == 1.f);
    sum += s;
  }
  CHECK(std::abs(sum) < 160);  // five standard deviations
}

TEST_CASE("hadamard: what cannot be transformed is named", "[quant]") {
  Tensor<float, 2> x({2, 12}), y({2, 12}), short_y({2, 8}), none({2, 0});
  CHECK(contains(message_of([&] { quant::hadamard_transform(x, y); }), "12 channels"));
  CHECK(contains(message_of([&] { quant::hadamard_transform(none, none); }), "0 channels"));
  CHECK(contains(message_of([&] { quant::hadamard_transform(x, short_y); }), "same shape"));
  CHECK(contains(message_of([] { quant::HadamardRotation<float>(0); }), "at least 1"));
  const quant::HadamardRotation<float> rotation(8);
  CHECK(contains(message_of([&] { rotation.apply(x, y); }), "8 channels"));
  Tensor<float, 1> signs({2});
  CHECK(contains(message_of([&] { quant::HadamardRotation<float>(signs.view()); }), "sign 0 is 0"));
}
