#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/core/fft.hpp>

using namespace weft;

namespace {

/// y[n] = sum_m h[(n - m) mod L] x[m], channel by channel, by the definition.
std::vector<double> convolved(const std::vector<double>& h, const std::vector<double>& x,
                              Index rows, Index channels) {
  const auto L = static_cast<Index>(h.size());
  std::vector<double> y(static_cast<std::size_t>(rows * channels), 0.0);
  const auto at = [channels](Index n, Index c) {
    return static_cast<std::size_t>(n * channels + c);
  };
  for (Index n = 0; n < rows; ++n)
    for (Index m = 0; m < rows; ++m)
      for (Index c = 0; c < channels; ++c)
        y[at(n, c)] += h[static_cast<std::size_t>((n - m + L) % L)] * x[at(m, c)];
  return y;
}

double length_of(const std::vector<double>& x) {
  double squares = 0;
  for (const double e : x) squares += e * e;
  return std::sqrt(squares);
}

/// Largest error over that which is documented.
template <class T>
double convolution_error(Index L, Index rows) {
  using Convolution = CircularConvolution<T>;
  using V = typename Convolution::V;
  constexpr Index C = Convolution::kChannels, W = C / 2;
  const auto h = even_values<double, 2>({3, L}, 1);
  const auto x = even_values<T, 2>({rows, C}, 2);
  const Convolution convolution(h);
  const Poisoned<T, 2> y({rows, C});
  Arena arena;
  double worst = 0;
  for (Index kernel = 0; kernel < 3; ++kernel) {
    const auto load = [&](Index n) {
      return std::pair<V, V>(V::load_unaligned(x.view().pointer(n)),
                             V::load_unaligned(x.view().pointer(n) + W));
    };
    const auto store = [&](Index n, const V& y0, const V& y1) {
      y0.store_unaligned(y.view().pointer(n));
      y1.store_unaligned(y.view().pointer(n) + W);
    };
    convolution.run(kernel, rows, load, store, arena);
    const auto kernel_values = doubles_of(h.view().select(0, kernel));
    const auto expected = convolved(kernel_values, doubles_of(x.view()), rows, C);
    const double allowed = static_cast<double>(std::numeric_limits<T>::epsilon()) *
                           std::log2(static_cast<double>(L)) * length_of(kernel_values) *
                           std::sqrt(static_cast<double>(rows));
    const auto got = doubles_of(y.view());
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double error = std::abs(got[i] - expected[i]) / allowed;
      worst = error <= worst ? worst : (std::isnan(error) ? HUGE_VAL : error);
    }
    CHECK(y.guards_intact());
  }
  return worst;
}

}  // namespace

TEST_CASE("circular convolutions agree with their definition", "[fft]") {
  // Both parities of log2(L), and rows from one to half of it.
  for (const Index L : {8, 16, 32, 64, 128, 512, 1024}) {
    for (const Index rows : {Index{1}, Index{3}, L / 4, L / 4 + 1, L / 2}) {
      INFO("L " << L << ", rows " << rows);
      CHECK(convolution_error<double>(L, rows) < 1);
      CHECK(convolution_error<float>(L, rows) < 1);
    }
  }
  CHECK(convolution_error<float>(8192, 4000) < 1);
}

TEST_CASE("a convolution with one shifted impulse is that shift", "[fft]") {
  Tensor<double, 2> h({1, 64});
  h(0, 3) = 1;
  const CircularConvolution<double> convolution(h);
  using V = Vec<double>;
  std::vector<double> got(32);
  Arena arena;
  convolution.run(
      0, 32, [](Index n) { return std::pair<V, V>(V(static_cast<double>(n)), V(0.0)); },
      [&](Index n, const V& y0, const V& y1) {
        got[static_cast<std::size_t>(n)] = y0.get(0);
        CHECK(std::abs(y1.get(0)) < 1e-13);  // two channels do not mix
      },
      arena);
  for (Index n = 0; n < 32; ++n)
    CHECK(std::abs(got[static_cast<std::size_t>(n)] - static_cast<double>(n < 3 ? 0 : n - 3)) <
          1e-13);
}

TEST_CASE("roots of unity keep their digits", "[fft]") {
  for (const Index n : {4, 16, 1 << 20})
    for (Index k = 0; k < n; k += std::max<Index>(1, n / 97)) {
      const long double angle = -2 * std::numbers::pi_v<long double> * static_cast<long double>(k) /
                                static_cast<long double>(n);
      const auto root = detail::root_of_unity(k, n);
      CHECK(std::abs(root[0] - static_cast<double>(std::cos(angle))) < 2.5e-16);
      CHECK(std::abs(root[1] - static_cast<double>(std::sin(angle))) < 2.5e-16);
    }
}

TEST_CASE("circular convolutions refuse other lengths", "[fft][errors]") {
  for (const Index L : {0, 1, 4, 12, 100}) {
    const Tensor<double, 2> h({1, L});
    CHECK(contains(message_of([&] { CircularConvolution<float>(h.view()); }),
                   "wanted a power of two, 8 or more"));
  }
}
