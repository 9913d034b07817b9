#include "reference/informer.hpp"

#include "support/allocations.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/kernelized/informer.hpp>
#include <weft/attention/kernelized/informer_distil.hpp>

// kernelized/informer_probsparse, kernelized/informer_distil

using namespace weft;
using reference::Rows;

namespace {

void append(std::vector<double>& to, const Rows& from) {
  for (const auto& row : from) to.insert(to.end(), row.begin(), row.end());
}

template <class T>
struct Setup {
  Setup(Index B, Index H, Index Hk, Index N, Index M, Index D, Index E, Index U, Index u,
        bool causal)
      : q(even_values<T, 4>({B, H, N, D}, 1, -2, 2)),
        k(even_values<T, 4>({B, Hk, M, D}, 2, -2, 2)),
        v(even_values<T, 4>({B, Hk, M, E}, 3)) {
    Philox random(7);
    samples = prob_sparse_samples(random, N, M, U);
    mixer = ProbSparse{samples.view(), u, causal};
  }

  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({q.extent(0), q.extent(1), q.extent(2), v.extent(3)});
    forward(mixer, q, k, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  /// The selection of every head, and what it gives.
  std::vector<double> expected(std::vector<double>* selection = nullptr) const {
    std::vector<double> all;
    std::vector<std::vector<std::size_t>> table;
    for (Index i = 0; i < samples.extent(0); ++i)
      table.emplace_back(samples.view().pointer(i), samples.view().pointer(i) + samples.extent(1));
    for (Index b = 0; b < q.extent(0); ++b)
      for (Index h = 0; h < q.extent(1); ++h) {
        const auto head = [&](const Tensor<T, 4>& x) {
          return double_rows(x.view().select(0, b).select(0, h / (q.extent(1) / x.extent(1))));
        };
        const auto chosen = reference::prob_sparse_selection(
            head(q), head(k), table, static_cast<std::size_t>(mixer.selected));
        if (selection != nullptr) selection->insert(selection->end(), chosen.begin(), chosen.end());
        append(all, reference::prob_sparse(head(q), head(k), head(v), chosen,
                                           1 / std::sqrt(static_cast<double>(q.extent(3))),
                                           mixer.causal));
      }
    return all;
  }

  Tensor<T, 4> q, k, v;
  Tensor<std::int32_t, 2> samples;
  ProbSparse mixer;
};

}  // namespace

TEST_CASE("ProbSparse agrees with the reference", "[kernelized]") {
  const auto check = [](const auto& s, double tolerance) {
    CHECK(largest_error(s.run(), s.expected()) < tolerance);
    CHECK(same_for_any_threads([&](const Context& ctx) { return s.run(ctx); }));
    std::vector<double> expected;
    (void)s.expected(&expected);
    Tensor<std::int32_t, 3> positions({s.q.extent(0), s.q.extent(1), s.mixer.selected});
    select_queries(s.mixer, s.q, s.k, positions.view());
    CHECK((doubles_of(positions.view()) == expected));
  };
  check(Setup<double>(1, 1, 1, 1, 1, 1, 1, 1, 1, true), 1e-13);
  check(Setup<double>(2, 3, 3, 24, 24, 8, 5, 4, 4, true), 1e-13);
  check(Setup<double>(1, 4, 2, 9, 300, 6, 7, 8, 6, false), 1e-13);
  check(Setup<double>(1, 2, 2, 40, 40, 19, 16, 20, 0, false), 1e-13);
  check(Setup<float>(2, 2, 2, 130, 130, 24, 20, 25, 25, true), 1e-5);
}

TEST_CASE("ProbSparse: all queries are plain attention, constants stay, ties go to the first",
          "[kernelized]") {
  Setup<double> s(1, 2, 2, 20, 31, 8, 5, 7, 20, false);
  Tensor<double, 4> plain({1, 2, 20, 5});
  forward(Softmax{}, s.q, s.k, s.v, plain);
  CHECK(largest_error(s.run(), doubles_of(plain.view())) < 1e-14);
  s.mixer.selected = 4;
  std::fill_n(s.v.data(), s.v.size(), 0.5);
  for (const double x : s.run()) CHECK(std::abs(x - 0.5) < 1e-15);
  std::fill_n(s.q.data(), s.q.size(), 0.0);
  Tensor<std::int32_t, 3> positions({1, 2, 4});
  select_queries(s.mixer, s.q, s.k, positions.view());
  CHECK((doubles_of(positions.view()) == std::vector<double>{0, 1, 2, 3, 0, 1, 2, 3}));
  CHECK(Setup<float>(0, 1, 1, 4, 4, 2, 2, 2, 2, true).run().empty());
}

TEST_CASE("ProbSparse counts and refusals", "[kernelized][errors]") {
  CHECK(prob_sparse_count(1) == 1);
  CHECK(prob_sparse_count(2) == 2);
  CHECK(prob_sparse_count(1000) == 35);
  CHECK(prob_sparse_count(24, 1) == 4);
  const auto refusal = [](auto change) {
    Setup<float> s(1, 2, 2, 6, 6, 4, 4, 3, 2, false);
    change(s);
    return message_of([&] { s.run(); });
  };
  CHECK(contains(refusal([](auto& s) { s.mixer.selected = 7; }), "7 of 6 queries"));
  CHECK(contains(refusal([](auto& s) { s.samples(5, 2) = 6; }), "a sample is 6"));
  CHECK(contains(refusal([](auto& s) { s.mixer.samples = s.samples.view().slice(0, 0, 5); }),
                 "wanted [6, 1 or more]"));
  CHECK(contains(refusal([](auto& s) {
                   s.mixer.causal = true;
                   s.k = Tensor<float, 4>({1, 2, 7, 4});
                   s.v = Tensor<float, 4>({1, 2, 7, 4});
                 }),
                 "6 queries to 7 keys"));
  CHECK(contains(message_of([] { prob_sparse_count(0); }), "must be positive"));
}

// --- Distilling

namespace {

template <class T>
struct Distil {
  Distil(Index B, Index N, Index C, Index outputs, Index padding)
      : x(even_values<T, 3>({B, N, C}, 1)),
        weight(even_values<T, 3>({outputs, C, 3}, 2)),
        parameters(even_values<T, 2>({5, outputs}, 3, 0.25, 2)) {
    const auto row = [&](Index i) { return std::as_const(parameters).view().select(0, i); };
    layer = {weight.view(), row(0), row(1), row(2), row(3), row(4), padding};
  }

  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 3> out({x.extent(0), layer.output_length(x.extent(1)), weight.extent(0)});
    forward(layer, x, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  std::vector<double> expected() const {
    std::vector<double> all;
    const auto p = [&](Index i) { return doubles_of(parameters.view().select(0, i)); };
    for (Index b = 0; b < x.extent(0); ++b)
      append(all, reference::distil(double_rows(x.view().select(0, b)),
                                    {doubles_of(weight.view()), p(0), p(1), p(2), p(3), p(4),
                                     static_cast<std::size_t>(layer.padding)}));
    return all;
  }

  Tensor<T, 3> x, weight;
  Tensor<T, 2> parameters;
  InformerDistil<T> layer;
};

}  // namespace

TEST_CASE("Informer's distilling agrees with the reference", "[kernelized]") {
  const Distil<double> exact[] = {
      {1, 1, 1, 1, 1}, {2, 8, 4, 4, 1}, {1, 7, 5, 9, 1}, {2, 9, 3, 17, 2}, {1, 2, 20, 3, 2}};
  for (const auto& s : exact) CHECK(largest_error(s.run(), s.expected()) < 1e-13);
  const Distil<float> rounded(2, 61, 24, 40, 1);
  CHECK(largest_error(rounded.run(), rounded.expected()) < 1e-5);
  CHECK(same_for_any_threads([&](const Context& ctx) { return rounded.run(ctx); }));
  CHECK(Distil<float>(0, 4, 3, 2, 1).run().empty());
}

TEST_CASE("Informer's distilling refuses what does not fit", "[kernelized][errors]") {
  const auto refusal = [](auto change) {
    Distil<float> s(1, 6, 4, 3, 1);
    change(s);
    return message_of([&] { s.run(); });
  };
  CHECK(contains(refusal([](auto& s) { s.layer.padding = 3; }), "padding is 3"));
  CHECK(contains(refusal([](auto& s) { s.x = Tensor<float, 3>({1, 6, 5}); }), "wanted [C', 5, 3]"));
  CHECK(contains(refusal([](auto& s) { s.layer.mean = s.layer.mean.slice(0, 0, 2); }),
                 "a parameter has 2"));
  const Distil<float> s(1, 6, 4, 3, 1);
  Tensor<float, 3> out({1, 4, 3});
  CHECK(contains(message_of([&] { forward(s.layer, s.x, out); }), "wanted [1, 3, 3]"));
}

TEST_CASE("Informer takes its memory from the context", "[kernelized]") {
  const Setup<float> s(1, 2, 2, 30, 30, 8, 8, 5, 4, true);
  Tensor<float, 4> out(s.v.shape());
  CHECK(allocates_once([&](const Context& ctx) { forward(s.mixer, s.q, s.k, s.v, out, ctx); }));
  const Distil<float> distil(1, 20, 6, 7, 1);
  Tensor<float, 3> half({1, 10, 7});
  CHECK(allocates_once([&](const Context& ctx) { forward(distil.layer, distil.x, half, ctx); }));
}
