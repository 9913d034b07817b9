#include "reference/arrangement.hpp"
#include "reference/softmax.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/tensor_attention.hpp>
#include <weft/attention/softmax/tensor_polynomial.hpp>

// softmax/tensor_attention

using namespace weft;

namespace {

template <class T>
struct Setup {
  Setup(Index B, Index H, Index N, Index N1, Index N2, Index D, Index E)
      : q(even_values<T, 4>({B, H, N, D}, 1)),
        k1(even_values<T, 4>({B, H, N1, D}, 2)),
        k2(even_values<T, 4>({B, H, N2, D}, 3)),
        v1(even_values<T, 4>({B, H, N1, E}, 4)),
        v2(even_values<T, 4>({B, H, N2, E}, 5)) {}

  /// out and then lse.
  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({q.extent(0), q.extent(1), q.extent(2), v1.extent(3)});
    const Poisoned<T, 3> lse({q.extent(0), q.extent(1), q.extent(2)});
    forward_with_lse(TensorAttention{}, q.view(), k1.view(), k2.view(), v1.view(), v2.view(),
                     out.view(), lse.view(), ctx);
    CHECK(out.guards_intact());
    auto both = doubles_of(out.view());
    const auto sums = doubles_of(lse.view());
    both.insert(both.end(), sums.begin(), sums.end());
    return both;
  }

  std::vector<double> run_polynomial(Index degree, const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({q.extent(0), q.extent(1), q.extent(2), v1.extent(3)});
    forward(TensorPolynomial{degree}, q.view(), k1.view(), k2.view(), v1.view(), v2.view(),
            out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  /// A negative degree asks for the exponential, and then lse comes behind.
  std::vector<double> expected(int degree) const {
    const auto size = [](Index n) { return static_cast<std::size_t>(n); };
    std::vector<double> out, lse;
    for (Index bh = 0; bh < q.extent(0) * q.extent(1); ++bh) {
      const auto head = [&](const Tensor<T, 4>& x) {
        return doubles_of(x.view().select(0, bh / q.extent(1)).select(0, bh % q.extent(1)));
      };
      const auto one =
          reference::tensor_attention({size(q.extent(2)), size(k1.extent(2)), size(k2.extent(2)),
                                       size(q.extent(3)), size(v1.extent(3))},
                                      head(q), head(k1), head(k2), head(v1), head(v2),
                                      1 / static_cast<double>(q.extent(3)), degree, lse);
      out.insert(out.end(), one.begin(), one.end());
    }
    out.insert(out.end(), lse.begin(), lse.end());
    return out;
  }

  Tensor<T, 4> q, k1, k2, v1, v2;
};

}  // namespace

TEST_CASE("tensor attention agrees with the reference", "[softmax]") {
  // One call of the engine, several, and a second set of keys longer than one call takes.
  const Setup<double> exact[] = {{1, 1, 1, 1, 1, 1, 1},
                                 {2, 3, 7, 5, 9, 6, 11},
                                 {1, 2, 9, 130, 70, 4, 3},
                                 {1, 1, 3, 2, 5000, 3, 2}};
  for (const auto& s : exact) CHECK(largest_error(s.run(), s.expected(-1)) < 1e-12);
  const Setup<float> rounded(1, 2, 40, 90, 61, 16, 20);
  CHECK(largest_error(rounded.run(), rounded.expected(-1)) < 1e-5);
  CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run(ctx); }));
  CHECK(Setup<float>(0, 1, 2, 3, 4, 5, 6).run().empty());
  for (const double x : Setup<float>(1, 1, 2, 0, 4, 5, 6).run()) CHECK((x == 0 || x == -HUGE_VAL));
}

TEST_CASE("tensor attention: one second key of ones is attention; the pairs can be exchanged",
          "[softmax]") {
  Setup<double> s(1, 2, 9, 14, 1, 6, 5);
  std::fill_n(s.k2.data(), s.k2.size(), 1.0);
  std::fill_n(s.v2.data(), s.v2.size(), 1.0);
  reference::AttentionOptions options;
  options.scale = 1.0 / 6;
  auto plain = reference::attention({1, 2, 2, 9, 14, 6, 5}, doubles_of(s.q.view()),
                                    doubles_of(s.k1.view()), doubles_of(s.v1.view()), options);
  plain.out.insert(plain.out.end(), plain.lse.begin(), plain.lse.end());
  CHECK(largest_error(s.run(), plain.out) < 1e-14);
  Setup<double> one_way(1, 2, 9, 14, 33, 6, 5), other_way(1, 2, 9, 14, 33, 6, 5);
  std::swap(other_way.k1, other_way.k2);
  std::swap(other_way.v1, other_way.v2);
  CHECK(largest_error(one_way.run(), other_way.run()) < 1e-14);
}

TEST_CASE("tensor attention by polynomials", "[softmax]") {
  CHECK(tensor_polynomial_features(3, 4) == 35);
  CHECK(tensor_polynomial_features(8, 2) == 45);
  CHECK(tensor_polynomial_features(5, 0) == 1);
  const Setup<double> s(2, 2, 7, 12, 9, 3, 5);
  for (const int degree : {0, 1, 2, 4, 7})
    CHECK(largest_error(s.run_polynomial(degree), s.expected(degree)) < 1e-12);
  auto exact = s.expected(-1);
  exact.resize(exact.size() - 2 * 2 * 7);
  CHECK(largest_error(s.run_polynomial(2), exact) > 1e-6);
  CHECK(largest_error(s.run_polynomial(12), exact) < 1e-12);
  const Setup<float> rounded(1, 2, 40, 90, 61, 4, 20);
  CHECK(largest_error(rounded.run_polynomial(4), rounded.expected(4)) < 1e-5);
  CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run_polynomial(4, ctx); }));
  CHECK(Setup<float>(0, 1, 2, 3, 4, 5, 6).run_polynomial(2).empty());
}

TEST_CASE("tensor attention refuses what does not fit", "[softmax][errors]") {
  Setup<float> s(1, 2, 3, 4, 5, 6, 7);
  const auto with = [&](auto change) {
    Setup<float> changed(1, 2, 3, 4, 5, 6, 7);
    change(changed);
    return message_of([&] { changed.run(); });
  };
  CHECK(contains(with([](auto& c) {
                   c.k1 = Tensor<float, 4>({1, 1, 4, 6});
                 }),
                 "batch size and heads"));
  CHECK(contains(with([](auto& c) { c.k2 = Tensor<float, 4>({1, 2, 5, 5}); }), "same channels"));
  CHECK(contains(with([](auto& c) { c.v2 = Tensor<float, 4>({1, 2, 4, 7}); }), "k2 5 tokens"));
  CHECK(contains(with([](auto& c) { c.v2 = Tensor<float, 4>({1, 2, 5, 6}); }), "out is"));
  CHECK(contains(message_of([&] { s.run_polynomial(-1); }), "degree is -1"));
  CHECK(contains(message_of([] { tensor_polynomial_features(64, 8); }), "more than 2^20"));
}
