#include "reference/low_rank.hpp"

#include "support/allocations.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/kernelized/linformer.hpp>
#include <weft/attention/kernelized/luna.hpp>
#include <weft/attention/kernelized/mdta.hpp>
#include <weft/attention/kernelized/nystromformer.hpp>
#include <weft/attention/kernelized/soft.hpp>

// kernelized/linformer, kernelized/nystromformer, kernelized/soft, kernelized/luna, kernelized/mdta

using namespace weft;
using reference::Table;

namespace {

template <class X>
Table table(const X& x) {
  const auto size = [](Index n) { return static_cast<std::size_t>(n); };
  return {size(x.extent(0)), size(x.extent(1)), doubles_of(x)};
}

/// f(b, h) for every head, one result behind the other.
template <class F>
std::vector<double> by_heads(Index B, Index H, F f) {
  std::vector<double> all;
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h) {
      const Table one = f(b, h);
      all.insert(all.end(), one.at.begin(), one.at.end());
    }
  return all;
}

template <class T>
struct Setup {
  Setup(Index B, Index H, Index N, Index M, Index D, Index E)
      : q(even_values<T, 4>({B, H, N, D}, 1, -2, 2)),
        k(even_values<T, 4>({B, H, M, D}, 2, -2, 2)),
        v(even_values<T, 4>({B, H, M, E}, 3)),
        tokens({B, M}) {
    for (Index i = 0; i < tokens.size(); ++i) tokens.data()[i] = i % 5 != 2 ? 1 : 0;
  }

  Table head(const Tensor<T, 4>& x, Index b, Index h) const {
    return table(x.view().select(0, b).select(0, h));
  }
  std::vector<int> visible(Index b) const {
    return {tokens.view().pointer(b), tokens.view().pointer(b) + tokens.extent(1)};
  }
  /// NaN in every token that does not exist.
  void poison() {
    for (auto* x : {&q, &k, &v})
      for (Index i = 0; i < x->size(); ++i) {
        const Index token = i / x->extent(3) % x->extent(2);
        const Index b = i / (x->size() / x->extent(0));
        if (tokens(b, token) == 0) x->data()[i] = std::numeric_limits<T>::quiet_NaN();
      }
  }
  template <class Mixer>
  std::vector<double> run(const Mixer& mixer, const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({q.extent(0), q.extent(1), q.extent(2), v.extent(3)});
    forward(mixer, q, k, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }
  double scale() const { return 1 / std::sqrt(static_cast<double>(q.extent(3))); }

  Tensor<T, 4> q, k, v;
  Tensor<std::uint8_t, 2> tokens;
};

}  // namespace

// --- Linformer

TEST_CASE("Linformer agrees with the reference", "[kernelized]") {
  const auto check = [](auto setup, Index R, Index heads, bool masked, double tolerance) {
    using T = typename decltype(setup.q)::value_type;
    const Index B = setup.q.extent(0), H = setup.q.extent(1), M = setup.k.extent(2);
    const auto e = even_values<T, 3>({heads, R, M + 2}, 7),
               f = even_values<T, 3>({heads, R, M + 2}, 8);
    const auto expected = by_heads(B, H, [&](Index b, Index h) {
      const auto used = [&](const auto& x) {
        return table(x.view().select(0, heads == 1 ? 0 : h).slice(1, 0, M));
      };
      return reference::linformer(setup.head(setup.q, b, h), setup.head(setup.k, b, h),
                                  setup.head(setup.v, b, h), used(e), used(f), setup.scale(),
                                  masked ? setup.visible(b) : std::vector<int>{});
    });
    Linformer<T> mixer{e.view(), f.view()};
    if (masked) mixer.tokens = setup.tokens.view();
    const auto run = [&](const Context& ctx) { return setup.run(mixer, ctx); };
    CHECK(largest_error(run(Context()), expected) < tolerance);
    CHECK(same_for_any_threads(run));
  };
  check(Setup<double>(1, 1, 1, 1, 1, 1), 1, 1, false, 1e-13);
  check(Setup<double>(2, 3, 7, 19, 6, 9), 5, 3, true, 1e-13);
  check(Setup<double>(1, 2, 33, 40, 16, 8), 40, 1, false, 1e-12);
  check(Setup<float>(2, 2, 50, 90, 24, 20), 17, 2, true, 1e-5);
}

TEST_CASE("Linformer with a unit matrix is attention; masked tokens are not read", "[kernelized]") {
  Setup<double> s(2, 2, 9, 9, 5, 4);
  Tensor<double, 3> one({1, 9, 9});
  for (Index i = 0; i < 9; ++i) one(0, i, i) = 1;
  Tensor<double, 4> plain(s.v.shape());
  forward(Softmax{}, s.q, s.k, s.v, plain);
  CHECK(largest_error(s.run(Linformer<double>{one.view(), one.view()}), doubles_of(plain.view())) <
        1e-14);
  const Linformer<double> masked{one.view(), one.view(), s.tokens.view()};
  const auto before = s.run(masked);
  const auto q = s.q.clone();
  s.poison();
  std::copy_n(q.data(), q.size(), s.q.data());
  CHECK((s.run(masked) == before));
}

// --- Nystromformer

TEST_CASE("Nystromformer agrees with the reference", "[kernelized]") {
  const auto check = [](auto setup, Index m, bool masked, bool with_conv, double tolerance) {
    using T = typename decltype(setup.q)::value_type;
    const Index B = setup.q.extent(0), H = setup.q.extent(1);
    const auto conv = even_values<T, 3>({H, 5, 1}, 7);
    const auto expected = by_heads(B, H, [&](Index b, Index h) {
      return reference::nystromformer(
          setup.head(setup.q, b, h), setup.head(setup.k, b, h), setup.head(setup.v, b, h),
          static_cast<std::size_t>(m), setup.scale(), 6,
          with_conv ? doubles_of(conv.view().select(0, h)) : std::vector<double>{},
          masked ? setup.visible(b) : std::vector<int>{});
    });
    Nystromformer<T> mixer{m};
    if (masked) mixer.tokens = setup.tokens.view();
    if (with_conv) mixer.conv = conv.view();
    if (masked) setup.poison();
    const auto run = [&](const Context& ctx) { return setup.run(mixer, ctx); };
    CHECK(largest_error(run(Context()), expected) < tolerance);
    CHECK(same_for_any_threads(run));
  };
  check(Setup<double>(1, 1, 4, 4, 3, 2), 1, false, false, 1e-13);
  check(Setup<double>(2, 3, 24, 24, 6, 9), 4, true, true, 1e-12);
  check(Setup<double>(1, 2, 60, 60, 16, 8), 20, false, true, 1e-11);
  check(Setup<float>(2, 2, 96, 96, 24, 20), 8, true, true, 1e-4);
}

TEST_CASE("Nystromformer with as many landmarks as tokens is attention", "[kernelized]") {
  Setup<double> s(2, 2, 10, 10, 5, 4);
  Tensor<double, 4> plain(s.v.shape());
  forward(Softmax{}, s.q, s.k, s.v, plain);
  CHECK(largest_error(s.run(Nystromformer<double>{10}), doubles_of(plain.view())) < 1e-14);
  // Once the inverse has converged its start cannot be seen, and weights sum to one.
  std::fill_n(s.v.data(), s.v.size(), 1.0);
  Nystromformer<double> mixer{5};
  mixer.iterations = 30;
  const auto one = s.run(mixer);
  for (const double x : one) CHECK(std::abs(x - 1) < 1e-8);
  for (const auto start : {NystromStart::batch, NystromStart::batch_columns}) {
    mixer.start = start;
    CHECK(largest_error(s.run(mixer), one) < 1e-8);
  }
}

TEST_CASE("Linformer and Nystromformer refuse what does not fit", "[kernelized][errors]") {
  const Setup<float> s(1, 2, 6, 6, 4, 4);
  const Tensor<float, 3> e({3, 2, 6}), shorter({2, 2, 5}), fine({2, 2, 6}), more({2, 3, 6});
  const auto linformer = [&](const auto& a, const auto& b) {
    return message_of([&] { s.run(Linformer<float>{a.view(), b.view()}); });
  };
  CHECK(contains(linformer(e, e), "keys is [3, 2, 6]"));
  CHECK(contains(linformer(fine, shorter), "values is [2, 2, 5]"));
  CHECK(contains(linformer(fine, more), "2 combinations of keys, 3 of values"));
  CHECK(contains(message_of([&] { s.run(Nystromformer<float>{4}); }), "4 landmarks for 6"));
  CHECK(contains(message_of([&] { s.run(Nystromformer<float>{0}); }), "0 landmarks"));
  Nystromformer<float> mixer{2};
  const Tensor<float, 3> even({2, 2, 1}), heads({3, 1, 1});
  mixer.conv = even.view();
  CHECK(contains(message_of([&] { s.run(mixer); }), "wanted odd sizes"));
  mixer.conv = heads.view();
  CHECK(contains(message_of([&] { s.run(mixer); }), "kernels for 3 heads"));
  const Tensor<std::uint8_t, 2> tokens({1, 5});
  mixer.tokens = tokens.view();
  CHECK(contains(message_of([&] { s.run(mixer); }), "wanted [1, 6]"));
}

// --- SOFT

namespace {

/// Queries far apart, so that the kernel of the landmarks is well conditioned.
template <class T>
struct SoftSetup {
  SoftSetup(Index B, Index H, Index R, Index C, Index D, Index E, Index r)
      : q(even_values<T, 4>({B, H, R * C, D}, 1, -9, 9)),
        v(even_values<T, 4>({B, H, R * C, E}, 2)),
        weight(even_values<T, 4>({D, D, r, r}, 3)),
        mixer{R, C, weight.view()} {}

  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 4> out(v.shape());
    forward(mixer, q, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  /// With the exact inverse of the kernel, plus the ridge or between the roots of its row sums.
  std::vector<double> expected() const {
    return by_heads(q.extent(0), q.extent(1), [&](Index b, Index h) {
      Table x = table(q.view().select(0, b).select(0, h));
      for (double& e : x.at) e *= std::pow(static_cast<double>(q.extent(3)), -0.25);
      const auto size = [](Index n) { return static_cast<std::size_t>(n); };
      const Table t = reference::soft_landmarks(x, size(mixer.columns), size(weight.extent(2)),
                                                doubles_of(weight.view()));
      Table a = reference::gaussian_kernel(t, t);
      std::vector<double> sums(a.rows, 0.0);
      for (std::size_t i = 0; i < a.rows; ++i)
        for (std::size_t j = 0; j < a.rows; ++j) sums[i] += a(i, j);
      const bool ridge = mixer.inverse == SoftInverse::ridge;
      for (std::size_t i = 0; ridge && i < a.rows; ++i) a(i, i) += 0.01;
      Table inverse = reference::inverse_of(a);
      for (std::size_t i = 0; !ridge && i < a.rows; ++i)
        for (std::size_t j = 0; j < a.rows; ++j) inverse(i, j) /= std::sqrt(sums[i] * sums[j]);
      return reference::soft(x, t, table(v.view().select(0, b).select(0, h)), inverse);
    });
  }

  Tensor<T, 4> q, v, weight;
  Soft<T> mixer;
};

}  // namespace

TEST_CASE("SOFT agrees with the reference and its exact inverse", "[kernelized]") {
  for (const auto inverse : {SoftInverse::ridge, SoftInverse::symmetric}) {
    SoftSetup<double> exact[] = {
        {1, 1, 2, 2, 3, 2, 2}, {2, 2, 6, 4, 8, 5, 2}, {1, 2, 6, 9, 12, 17, 3}};
    for (auto& s : exact) {
      s.mixer.inverse = inverse;
      s.mixer.steps = 40;
      CHECK(largest_error(s.run(), s.expected()) < 1e-10);
    }
    SoftSetup<float> rounded(1, 2, 8, 12, 16, 20, 2);
    rounded.mixer.inverse = inverse;
    CHECK(largest_error(rounded.run(), rounded.expected()) < 1e-4);
    CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run(ctx); }));
  }
  // The published start is another way to the same.
  SoftSetup<double> batch(2, 2, 6, 4, 8, 5, 2);
  batch.mixer.inverse = SoftInverse::symmetric_batch;
  batch.mixer.steps = 60;
  CHECK(largest_error(batch.run(), batch.expected()) < 1e-10);
  CHECK(SoftSetup<float>(0, 1, 2, 2, 3, 2, 1).run().empty());
}

TEST_CASE("SOFT adds a convolution of the values, and refuses what does not fit",
          "[kernelized][errors]") {
  SoftSetup<double> s(1, 2, 4, 6, 4, 3, 2);
  const auto without = s.run();
  Tensor<double, 3> centre({2, 3, 3});
  centre(0, 1, 1) = 1;  // head 0: the values themselves; head 1: those to the right
  centre(1, 1, 2) = 1;
  s.mixer.conv = centre.view();
  const auto with = s.run();
  for (Index h = 0; h < 2; ++h)
    for (Index n = 0; n < 24; ++n)
      for (Index e = 0; e < 3; ++e) {
        const auto at = static_cast<std::size_t>((h * 24 + n) * 3 + e);
        const double own = h == 0 ? s.v(0, h, n, e) : n % 6 == 5 ? 0.0 : s.v(0, h, n + 1, e);
        CHECK(std::abs(with[at] - without[at] - own) < 1e-13);
      }
  s.mixer.rows = 5;
  CHECK(contains(message_of([&] { s.run(); }), "a map of 5 x 6"));
  s.mixer.rows = 8, s.mixer.columns = 3;
  CHECK(contains(message_of([&] { s.run(); }), "in parts of 2 x 2"));
  const Tensor<double, 4> other({4, 3, 2, 2});
  s.mixer.landmark = other.view();
  CHECK(contains(message_of([&] { s.run(); }), "landmark is [4, 3, 2, 2]"));
}

// --- Luna

TEST_CASE("Luna agrees with the reference", "[kernelized]") {
  const Setup<double> s(2, 3, 17, 29, 6, 6);
  const auto latents = even_values<double, 4>({2, 3, 5, 6}, 9);
  const Poisoned<double, 4> packed(latents.shape()), out(s.q.shape());
  forward(Luna{}, latents, s.q, s.k, s.v, packed.view(), out.view());
  for (std::size_t which : {0u, 1u}) {
    const auto expected = by_heads(2, 3, [&](Index b, Index h) {
      return reference::luna(s.head(latents, b, h), s.head(s.q, b, h), s.head(s.k, b, h),
                             s.head(s.v, b, h), s.scale())[which];
    });
    CHECK(largest_error(doubles_of(which == 0 ? packed.view() : out.view()), expected) < 1e-13);
  }
  // A masked context is as good as a shorter one.
  forward(Luna{FirstKeys{11}}, latents, s.q, s.k, s.v, packed.view(), out.view());
  Tensor<double, 4> p(latents.shape()), o(s.q.shape());
  forward(Luna{}, latents, s.q, s.k.view().slice(2, 0, 11), s.v.view().slice(2, 0, 11), p, o);
  CHECK(largest_error(doubles_of(out.view()), doubles_of(o.view())) < 1e-14);
  CHECK(contains(message_of([&] { forward(Luna{}, latents, s.q, s.k, s.v, o, o); }),
                 "packed is [2, 3, 17, 6]"));
}

// --- MDTA

TEST_CASE("MDTA agrees with the reference", "[kernelized]") {
  const auto check = [](auto setup, double tolerance) {
    using T = typename decltype(setup.q)::value_type;
    const Index B = setup.q.extent(0), H = setup.q.extent(1);
    const auto temperature = even_values<T, 1>({H}, 5, 0, 3);
    const Mdta<T> mixer{temperature.view()};
    const auto expected = by_heads(B, H, [&](Index b, Index h) {
      return reference::mdta(setup.head(setup.q, b, h), setup.head(setup.k, b, h),
                             setup.head(setup.v, b, h), static_cast<double>(temperature(h)));
    });
    const auto run = [&](const Context& ctx) { return setup.run(mixer, ctx); };
    CHECK(largest_error(run(Context()), expected) < tolerance);
    CHECK(same_for_any_threads(run));
  };
  check(Setup<double>(1, 1, 1, 1, 1, 1), 1e-13);
  check(Setup<double>(2, 3, 5, 5, 37, 37), 1e-13);
  check(Setup<float>(2, 2, 24, 24, 700, 700), 1e-5);
}

TEST_CASE("MDTA: temperature zero is the mean, lengths do not matter, zeros are harmless",
          "[kernelized]") {
  Setup<double> s(1, 1, 4, 4, 9, 9);
  Tensor<double, 1> temperature({1});
  const Mdta<double> mixer{temperature.view()};
  const auto mean = s.run(mixer);
  for (Index n = 0; n < 9; ++n) {
    const double expected =
        (s.v(0, 0, 0, n) + s.v(0, 0, 1, n) + s.v(0, 0, 2, n) + s.v(0, 0, 3, n)) / 4;
    CHECK(std::abs(mean[static_cast<std::size_t>(n)] - expected) < 1e-15);
  }
  temperature(0) = 2;
  const auto before = s.run(mixer);
  for (Index n = 0; n < 9; ++n) s.q(0, 0, 1, n) *= 7, s.k(0, 0, 3, n) *= 0.25;
  CHECK(largest_error(s.run(mixer), before) < 1e-14);
  for (Index n = 0; n < 9; ++n) s.q(0, 0, 0, n) = 0;
  const auto zeros = s.run(mixer);
  CHECK(std::abs(zeros[0] - mean[0]) < 1e-15);
  const Tensor<double, 1> two({2});
  CHECK(contains(message_of([&] { s.run(Mdta<double>{two.view()}); }), "2 temperatures for 1"));
  Tensor<double, 4> narrow({1, 1, 4, 8});
  CHECK(
      contains(message_of([&] { forward(mixer, s.q, s.k, s.v, narrow); }), "give them one shape"));
}

// --- All

TEST_CASE("low-rank attention takes its memory from the context", "[kernelized]") {
  const Setup<float> s(1, 2, 36, 36, 8, 8);
  const auto e = even_values<float, 3>({2, 5, 36}, 4), conv = even_values<float, 3>({2, 3, 3}, 5);
  const auto landmark = even_values<float, 4>({8, 8, 2, 2}, 6);
  const auto temperature = even_values<float, 1>({2}, 7);
  Tensor<float, 4> out(s.v.shape()), latents({1, 2, 4, 8}), packed({1, 2, 4, 8});
  Nystromformer<float> nystrom{6, s.tokens.view()};
  const Soft<float> soft{6, 6, landmark.view(), {}, conv.view()};
  CHECK(allocates_once([&](const Context& ctx) {
    forward(Linformer<float>{e.view(), e.view(), s.tokens.view()}, s.q, s.k, s.v, out, ctx);
  }));
  CHECK(allocates_once([&](const Context& ctx) { forward(nystrom, s.q, s.k, s.v, out, ctx); }));
  CHECK(allocates_once([&](const Context& ctx) { forward(soft, s.q, s.v, out, ctx); }));
  CHECK(allocates_once(
      [&](const Context& ctx) { forward(Luna{}, latents, s.q, s.k, s.v, packed, out, ctx); }));
  CHECK(allocates_once([&](const Context& ctx) {
    forward(Mdta<float>{temperature.view()}, s.q, s.k, s.v, out, ctx);
  }));
}
