#include "reference/kernelized.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/kernelized/toeplitz.hpp>

#include <unsupported/Eigen/FFT>

// kernelized/toeplitz

using namespace weft;

namespace {

template <class T>
std::vector<double> product(const Tensor<T, 2>& c, const Tensor<T, 2>& x, ToeplitzMethod method,
                            Index head = 0, const Context& ctx = Context()) {
  const Poisoned<T, 2> y(x.shape());
  Toeplitz<T>(c.view(), method).multiply(head, x.view(), y.view(), ctx);
  CHECK(y.guards_intact());
  return doubles_of(y.view());
}

/// One column by Eigen's transform of length L >= 2 n - 1.
std::vector<double> column_by_eigen(const std::vector<double>& c, const std::vector<double>& x) {
  const std::size_t n = x.size(), L = 4 * n;
  std::vector<double> h(L, 0.0), padded(L, 0.0), y;
  for (std::size_t s = 0; s < n; ++s) h[s] = c[n - 1 - s];
  for (std::size_t s = 1; s < n; ++s) h[L - s] = c[n - 1 + s];
  std::copy(x.begin(), x.end(), padded.begin());
  Eigen::FFT<double> fft;
  std::vector<std::complex<double>> spectrum, other;
  fft.fwd(spectrum, h);
  fft.fwd(other, padded);
  for (std::size_t f = 0; f < spectrum.size(); ++f) spectrum[f] *= other[f];
  fft.inv(y, spectrum);
  y.resize(n);
  return y;
}

}  // namespace

TEST_CASE("Toeplitz products agree with the definition, both ways", "[kernelized]") {
  for (const Index N : {1, 2, 3, 7, 8, 9, 31, 32, 33, 64, 100, 257}) {
    for (const Index C : {1, 5, 32, 71}) {
      INFO("N " << N << ", C " << C);
      const auto c = even_values<double, 2>({2, 2 * N - 1}, 1),
                 x = even_values<double, 2>({N, C}, 2);
      const auto expected = reference::toeplitz(doubles_of(c.view().select(0, 1)),
                                                doubles_of(x.view()), static_cast<std::size_t>(C));
      for (const auto method : {ToeplitzMethod::direct, ToeplitzMethod::fft})
        CHECK(largest_error(product(c, x, method, 1), expected) < 2e-15);
    }
  }
  const auto c = even_values<float, 2>({1, 4001}, 1), x = even_values<float, 2>({2001, 40}, 2);
  const auto expected = reference::toeplitz(doubles_of(c.view()), doubles_of(x.view()), 40);
  CHECK(largest_error(product(c, x, ToeplitzMethod::by_length), expected) < 2e-6);
  CHECK(same_for_any_threads(
      [&](const Context& ctx) { return product(c, x, ToeplitzMethod::fft, 0, ctx); }));
}

TEST_CASE("Toeplitz products agree with another library's transforms", "[kernelized]") {
  const auto c = even_values<double, 2>({1, 2 * 1500 - 1}, 1),
             x = even_values<double, 2>({1500, 1}, 2);
  CHECK(largest_error(product(c, x, ToeplitzMethod::fft),
                      column_by_eigen(doubles_of(c.view()), doubles_of(x.view()))) < 1e-14);
}

TEST_CASE("Toeplitz: the identity, causality, in place, strides", "[kernelized]") {
  for (const Index N : {20, 90}) {
    Tensor<double, 2> identity({1, 2 * N - 1});
    identity(0, N - 1) = 1;
    auto x = even_values<double, 2>({N, 6}, 1);
    const Toeplitz<double> matrix(identity.view());
    CHECK(matrix.uses_fft() == (N > kToeplitzDirect));
    CHECK(largest_error(product(identity, x, ToeplitzMethod::by_length), doubles_of(x.view())) <
          1e-15);
    // Part of wider rows, and over itself.
    const auto before = doubles_of(x.view());
    const auto part = x.view().slice(1, 2, 3);
    matrix.multiply(0, part, part);
    CHECK(largest_error(doubles_of(x.view()), before) < 1e-15);

    auto causal = even_values<double, 2>({1, 2 * N - 1}, 2);
    for (Index d = N; d < 2 * N - 1; ++d) causal(0, d) = 0;
    auto later = x.clone();
    for (Index e = 0; e < 6; ++e) later(N - 1, e) = 1e3;
    auto one = product(causal, x, ToeplitzMethod::by_length);
    auto other = product(causal, later, ToeplitzMethod::by_length);
    one.resize(one.size() - 6);
    other.resize(other.size() - 6);
    CHECK(largest_error(other, one) < 1e-12);
  }
}

TEST_CASE("Toeplitz refuses what does not fit", "[kernelized][errors]") {
  const Tensor<float, 2> even({1, 4}), c({1, 5}), x({3, 2}), longer({4, 2});
  Tensor<float, 2> y({3, 2});
  CHECK(contains(message_of([&] { Toeplitz<float>(even.view()); }), "wanted [H, 2 N - 1]"));
  const Toeplitz<float> matrix(c.view());
  CHECK(contains(message_of([&] { matrix.multiply(1, x.view(), y.view()); }), "head 1 of 1"));
  CHECK(
      contains(message_of([&] { matrix.multiply(0, longer.view(), y.view()); }), "must be [3, C]"));
  const View<const float, 2> columns(x.data(), {3, 2}, {1, 3});
  CHECK(contains(message_of([&] { matrix.multiply(0, columns, y.view()); }), "adjacent"));
}
