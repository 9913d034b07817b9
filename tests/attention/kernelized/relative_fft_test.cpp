#include "reference/kernelized.hpp"
#include "support/allocations.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/kernelized/relative_fft.hpp>

// kernelized/relative_fft

using namespace weft;

namespace {

template <class T>
struct Setup {
  Setup(Index B, Index H, Index N, Index D, Index m, Index E)
      : q(even_values<T, 4>({B, H, N, D}, 1, -2, 2)),
        k(even_values<T, 4>({B, H, N, D}, 2, -2, 2)),
        v(even_values<T, 4>({B, H, N, E}, 3)),
        w(even_values<T, 2>({m, D}, 4, -2, 2)),
        b(even_values<T, 2>({H, 2 * N - 1}, 5)) {}

  std::vector<double> run(const RelativeKernelOptions& options,
                          const Context& ctx = Context()) const {
    const Poisoned<T, 4> out(v.shape());
    forward(RelativeKernel<T>(w.view(), b.view(), options), q, k, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  std::vector<double> expected(const RelativeKernelOptions& options) const {
    std::vector<double> all;
    const auto size = [](Index n) { return static_cast<std::size_t>(n); };
    for (Index i = 0; i < q.extent(0) * q.extent(1); ++i) {
      const auto head = [&](const Tensor<T, 4>& x) {
        return doubles_of(x.view().select(0, i / q.extent(1)).select(0, i % q.extent(1)));
      };
      const auto one = reference::relative_kernel(
          {size(q.extent(2)), size(q.extent(3)), size(w.extent(0)), size(v.extent(3))}, head(q),
          head(k), head(v), doubles_of(w.view()), doubles_of(b.view().select(0, i % q.extent(1))),
          options.causal, options.normalize);
      all.insert(all.end(), one.begin(), one.end());
    }
    return all;
  }

  Tensor<T, 4> q, k, v;
  Tensor<T, 2> w, b;
};

const RelativeKernelOptions kAll[] = {
    {false, true, RelativeMethod::direct},  {true, true, RelativeMethod::direct},
    {false, false, RelativeMethod::direct}, {false, true, RelativeMethod::fft},
    {true, true, RelativeMethod::fft},      {true, false, RelativeMethod::fft}};

}  // namespace

TEST_CASE("kernelized attention with relative positions agrees with the reference",
          "[kernelized]") {
  const Setup<double> exact[] = {
      {1, 1, 1, 1, 1, 1}, {2, 3, 7, 5, 6, 9}, {1, 2, 33, 8, 17, 16}, {1, 1, 100, 3, 4, 33}};
  for (const auto& s : exact)
    for (const auto& options : kAll)
      CHECK(largest_error(s.run(options), s.expected(options)) < 1e-12);
  const Setup<float> rounded(1, 2, 130, 16, 21, 20);
  for (const auto& options : kAll)
    CHECK(largest_error(rounded.run(options), rounded.expected(options)) < 1e-4);
  for (const auto method : {RelativeMethod::direct, RelativeMethod::fft})
    CHECK(same_for_any_threads([&](const Context& ctx) {
      return rounded.run({true, true, method}, ctx);
    }));
}

TEST_CASE("kernelized attention: what does not change it, and what does not see the future",
          "[kernelized]") {
  for (const auto method : {RelativeMethod::direct, RelativeMethod::fft}) {
    const RelativeKernelOptions options{true, true, method};
    Setup<double> s(1, 2, 40, 6, 9, 5);
    const auto before = s.run(options);
    for (double& x : s.b.span()) x += 3;
    for (double& x : s.k.span()) x *= 2.5;
    CHECK(largest_error(s.run(options), before) < 1e-12);
    // Values alone are linear; a constant one comes out as it is.
    std::fill_n(s.v.data(), s.v.size(), 1.0);
    for (const double x : s.run(options)) CHECK(std::abs(x - 1) < 1e-12);
    Setup<double> changed(1, 2, 40, 6, 9, 5);
    for (Index h = 0; h < 2; ++h)
      for (Index e = 0; e < 5; ++e) changed.v(0, h, 39, e) = changed.k(0, h, 39, e) = 7;
    const auto after = changed.run(options);
    for (std::size_t i = 0; i < after.size(); ++i) {
      if (i / 5 % 40 != 39) CHECK(std::abs(after[i] - before[i]) < 1e-11);
    }
  }
}

TEST_CASE("kernelized attention: a head without biases is plain attention by features",
          "[kernelized]") {
  Setup<double> s(1, 1, 50, 4, 12, 3);
  std::fill_n(s.b.data(), s.b.size(), -1.5);
  const auto with = s.run({false, false, RelativeMethod::fft});
  // Plain: every pair weighs the same, whatever its distance; so tokens may be permuted.
  Setup<double> turned(1, 1, 50, 4, 12, 3);
  std::fill_n(turned.b.data(), turned.b.size(), 0.0);
  for (auto* x : {&turned.k, &turned.v})
    for (Index n = 0; n < 25; ++n)
      std::swap_ranges(x->view().pointer(0, 0, n), x->view().pointer(0, 0, n) + x->extent(3),
                       x->view().pointer(0, 0, 49 - n));
  CHECK(largest_error(turned.run({false, false, RelativeMethod::fft}), with) < 1e-12);
}

TEST_CASE("kernelized attention: the choice of the method, and refusals", "[kernelized][errors]") {
  const Setup<float> s(1, 2, 9, 4, 3, 2);
  CHECK_FALSE(RelativeKernel<float>(s.w.view(), s.b.view()).matrix().uses_fft());
  const Tensor<float, 2> long_bias({1, 2 * 20000 - 1});
  CHECK(RelativeKernel<float>(s.w.view(), long_bias.view()).matrix().uses_fft());
  Tensor<float, 4> out(s.v.shape());
  const RelativeKernel<float> mixer(s.w.view(), s.b.view());
  const auto refusal = [&](const auto& q, const auto& k, const auto& v) {
    return message_of([&] { forward(mixer, q, k, v, out); });
  };
  CHECK(contains(refusal(s.q.view().slice(2, 0, 8), s.k, s.v), "2 heads and 9 tokens"));
  CHECK(contains(refusal(s.q, s.k.view().slice(3, 0, 3), s.v), "one shape"));
  CHECK(contains(refusal(s.q, s.k, s.q), "RelativeKernel: v is"));
  const Setup<float> wide(1, 2, 9, 5, 3, 2);
  CHECK(contains(refusal(wide.q, wide.k, s.v), "wanted [m, 5]"));
  auto none = s.b.clone();
  std::fill_n(none.data(), none.size(), -std::numeric_limits<float>::infinity());
  CHECK(contains(message_of([&] { RelativeKernel<float>(s.w.view(), none.view()); }),
                 "the largest bias of head 0"));
}

TEST_CASE("kernelized attention takes its memory from the context", "[kernelized]") {
  const Setup<float> s(1, 2, 40, 6, 9, 5);
  Tensor<float, 4> out(s.v.shape());
  for (const auto method : {RelativeMethod::direct, RelativeMethod::fft}) {
    const RelativeKernel<float> mixer(s.w.view(), s.b.view(), {true, true, method});
    CHECK(allocates_once([&](const Context& ctx) { forward(mixer, s.q, s.k, s.v, out, ctx); }));
  }
}
