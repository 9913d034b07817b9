#include "reference/integer_nonlinear.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/integer_softmax.hpp>
#include <weft/quant/shift_product.hpp>

#include <numeric>

using namespace weft;
using namespace weft::quant;

namespace {

using Visible = std::vector<bool>;

Tensor<std::int32_t, 2> scores(Index rows, Index cols, int largest, std::uint64_t seed) {
  const auto values = even_values<double, 2>({rows, cols}, seed, -largest, largest);
  Tensor<std::int32_t, 2> out({rows, cols});
  for (Index i = 0; i < out.size(); ++i)
    out.data()[i] = static_cast<std::int32_t>(std::nearbyint(values.data()[i]));
  return out;
}

template <class T>
reference::Integers row_of(const View<T, 2>& x, Index r) {
  reference::Integers out;
  for (Index j = 0; j < x.extent(1); ++j) out.push_back(static_cast<std::int64_t>(x(r, j)));
  return out;
}

double default_step(double scale) {
  return scale * scale * 0.35815147 * IntegerExp(scale).c / 32767;
}

}  // namespace

TEST_CASE("integer softmax is that of 64-bit integers", "[quant/integer_softmax]") {
  const double scale = GENERATE(0.9, 0.1, 0.046875, 0.01, 0.0007);
  const Index cols = GENERATE(1, 2, 7, 63, 64, 65, 300);
  const auto x = scores(5, cols, static_cast<int>(6 / scale) + 1, 3);
  Tensor<std::int32_t, 2> codes(x.shape());
  integer_softmax(IntegerSoftmax{scale}, x, codes.view());
  for (Index r = 0; r < x.extent(0); ++r)
    CHECK(row_of(codes.view(), r) ==
          reference::integer_softmax(row_of(x.view(), r),
                                     Visible(static_cast<std::size_t>(cols), true), scale, 8,
                                     default_step(scale)));
}

TEST_CASE("logarithmic integer softmax is that of 64-bit integers", "[quant/log_int_softmax]") {
  const double scale = GENERATE(0.9, 0.1, 0.01, 0.002);
  const int bits = GENERATE(1, 3, 4, 7);
  const auto x = scores(4, 129, static_cast<int>(9 / scale) + 1, 4);
  Tensor<std::uint8_t, 2> codes(x.shape());
  integer_softmax(LogIntegerSoftmax{scale, bits}, x, codes.view());
  for (Index r = 0; r < x.extent(0); ++r)
    CHECK(row_of(codes.view(), r) ==
          reference::log_integer_softmax(row_of(x.view(), r), Visible(129, true), scale, bits));
}

TEST_CASE("integer softmax: hidden keys have no influence and no weight", "[quant]") {
  auto x = scores(6, 37, 100, 5);
  Tensor<std::uint8_t, 2> visible(x.shape());
  for (Index i = 0; i < visible.size(); ++i) visible.data()[i] = i % 3 != 0;
  for (Index j = 0; j < 37; ++j) visible(4, j) = 0;
  for (Index i = 0; i < x.size(); ++i)
    if (visible.data()[i] == 0) x.data()[i] = i % 2 ? INT32_MAX : INT32_MIN;
  Tensor<std::int32_t, 2> codes(x.shape()), logs(x.shape());
  integer_softmax(IntegerSoftmax{0.05}, x, visible, codes.view());
  integer_softmax(LogIntegerSoftmax{0.05}, x, visible, logs.view());
  for (Index r = 0; r < 6; ++r) {
    Visible seen;
    for (Index j = 0; j < 37; ++j) seen.push_back(visible(r, j) != 0);
    const auto row = row_of(x.view(), r);
    CHECK(row_of(codes.view(), r) ==
          reference::integer_softmax(row, seen, 0.05, 8, default_step(0.05)));
    CHECK(row_of(logs.view(), r) == reference::log_integer_softmax(row, seen, 0.05, 4));
  }
  CHECK(codes(4, 0) == 0);
  CHECK(logs(4, 0) == 16);
}

TEST_CASE("integer softmax: shifts change nothing and rows sum to one at most", "[quant]") {
  const auto x = scores(9, 50, 300, 6);
  Tensor<std::int32_t, 2> moved(x.shape());
  for (Index i = 0; i < x.size(); ++i) moved.data()[i] = x.data()[i] - 2000000000;
  const int bits = GENERATE(1, 8, 16);
  Tensor<std::int32_t, 2> a(x.shape()), b(x.shape());
  integer_softmax(IntegerSoftmax{0.02, bits}, x, a.view());
  integer_softmax(IntegerSoftmax{0.02, bits}, moved, b.view());
  for (Index r = 0; r < 9; ++r) {
    const auto row = row_of(a.view(), r);
    CHECK(row == row_of(b.view(), r));
    CHECK(std::accumulate(row.begin(), row.end(), std::int64_t{0}) <= std::int64_t{1} << bits);
  }
}

TEST_CASE("integer softmax: the same on other instruction sets, types and strides", "[quant]") {
  const auto x = scores(3, 200, 400, 7);
  Tensor<std::int32_t, 2> wide(x.shape()), narrow(x.shape()), logs(x.shape()),
      narrow_logs(x.shape());
  Tensor<std::uint8_t, 2> bytes({3, 230});
  Tensor<std::uint16_t, 2> words(x.shape());
  using Portable = Arch<xsimd::sse2>;
  const IntegerSoftmax softmax{0.01};
  integer_softmax(softmax, x, wide.view());
  integer_softmax<Portable>(softmax, x, narrow.view());
  integer_softmax(softmax, x, bytes.view().slice(1, 0, 200));
  integer_softmax(softmax, x, words.view());
  integer_softmax(LogIntegerSoftmax{0.01}, x, logs.view());
  integer_softmax<Portable>(LogIntegerSoftmax{0.01}, x, narrow_logs.view());
  for (Index r = 0; r < 3; ++r) {
    CHECK(row_of(narrow.view(), r) == row_of(wide.view(), r));
    CHECK(row_of(bytes.view().slice(1, 0, 200), r) == row_of(wide.view(), r));
    CHECK(row_of(words.view(), r) == row_of(wide.view(), r));
    CHECK(row_of(narrow_logs.view(), r) == row_of(logs.view(), r));
  }
}

TEST_CASE("integer softmax: a lone 16-bit exponential of a power of two saturates bytes",
          "[quant]") {
  Tensor<std::int32_t, 2> x({1, 1}), codes({1, 1});
  Tensor<std::uint8_t, 2> bytes({1, 1});
  const IntegerExp exp(0.1);
  const IntegerSoftmax softmax{0.1, 8, exp.one() * exp.exp_scale / 4};
  integer_softmax(softmax, x, codes.view());
  integer_softmax(softmax, x, bytes.view());
  CHECK(codes(0, 0) == 256);
  CHECK(bytes(0, 0) == 255);
}

TEST_CASE("i-exp is close to the exponential", "[quant]") {
  const double scale = 1e-3;
  const IntegerExp exp(scale);
  double worst = 0;
  for (int n = -20000; n <= 0; ++n) {
    const double got = exp(Vec<double>(n)).get(0) * exp.exp_scale;
    worst = std::max(worst, std::abs(got - std::exp(n * scale)));
  }
  CHECK(worst < 2e-3);
  CHECK(exp(Vec<double>(-1e9)).get(0) > 0);
}

TEST_CASE("integer softmax refuses what it cannot do", "[quant]") {
  Tensor<std::int32_t, 2> x({2, 3}), codes({2, 3}), other({2, 4});
  const auto run = [&](const auto& softmax) {
    return message_of([&] { integer_softmax(softmax, x, codes.view()); });
  };
  CHECK(contains(run(IntegerSoftmax{0}), "must be in [2^-24, 1]"));
  CHECK(contains(run(IntegerSoftmax{1.5}), "must be in [2^-24, 1]"));
  CHECK(contains(run(IntegerSoftmax{0.1, 17}), "17 bits"));
  CHECK(contains(run(IntegerSoftmax{0.1, 8, -1}), "step"));
  CHECK(contains(run(LogIntegerSoftmax{0.1, 9}), "1 to 8"));
  CHECK(contains(message_of([&] {
                   Tensor<std::uint8_t, 2> bytes({2, 3});
                   integer_softmax(LogIntegerSoftmax{0.1, 8}, x, bytes.view());
                 }),
                 "does not fit in 8 bits"));
  CHECK(contains(message_of([&] { integer_softmax(IntegerSoftmax{0.1}, x, other.view()); }),
                 "same shape"));
  CHECK(contains(message_of([&] {
                   Tensor<std::uint8_t, 2> visible({2, 2});
                   integer_softmax(IntegerSoftmax{0.1}, x, visible, codes.view());
                 }),
                 "visible"));
  Tensor<std::int32_t, 2> none({0, 5});
  CHECK_NOTHROW(integer_softmax(IntegerSoftmax{0.1}, none, none.view()));
  Tensor<std::int32_t, 2> no_keys({5, 0});
  CHECK_NOTHROW(integer_softmax(IntegerSoftmax{0.1}, no_keys, no_keys.view()));
}

TEST_CASE("values are multiplied by powers of two by shifts", "[quant/log_int_softmax]") {
  const Index keys = 41, cols = GENERATE(1, 16, 63, 64, 65, 130);
  const int fraction = GENERATE(0, 3, 15);
  Tensor<std::uint8_t, 2> codes({17, keys});
  Tensor<std::int8_t, 2> v({keys, cols});
  for (Index i = 0; i < codes.size(); ++i) codes.data()[i] = static_cast<std::uint8_t>(i * 7 % 19);
  for (Index i = 0; i < v.size(); ++i) v.data()[i] = static_cast<std::int8_t>(i * 37 % 256 - 128);
  Tensor<std::int32_t, 2> out({17, cols}), portable({17, cols});
  shift_product(codes, 16, v, fraction, out.view());
  shift_product<Arch<xsimd::sse2>>(codes, 16, v, fraction, portable.view());
  Index wrong = 0;
  for (Index n = 0; n < 17; ++n)
    for (Index e = 0; e < cols; ++e) {
      double sum = 0;
      for (Index m = 0; m < keys; ++m)
        if (codes(n, m) < 16) sum += std::floor(std::ldexp(v(m, e), fraction - codes(n, m)));
      wrong += out(n, e) != sum || portable(n, e) != sum;
    }
  CHECK(wrong == 0);
}

TEST_CASE("shift_product refuses shapes that do not fit", "[quant]") {
  Tensor<std::uint8_t, 2> codes({2, 3});
  Tensor<std::int8_t, 2> v({3, 4}), short_v({2, 4});
  Tensor<std::int32_t, 2> out({2, 4});
  CHECK(contains(message_of([&] { shift_product(codes, 16, short_v, 0, out.view()); }), "[M, E]"));
  CHECK(contains(message_of([&] { shift_product(codes, 16, v, 24, out.view()); }), "fraction"));
  CHECK(contains(
      message_of([&] { shift_product(codes, 16, v.view().transpose(0, 1), 0, out.view()); }),
      "wanted"));
}
