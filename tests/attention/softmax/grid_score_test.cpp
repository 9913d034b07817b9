#include "reference/grid.hpp"
#include "reference/softmax.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/attention/softmax/gaussian_mixture.hpp>
#include <weft/attention/softmax/manhattan.hpp>

// softmax/gaussian_mixture_mask, softmax/rmt_masa, softmax/rmt_decay

using namespace weft;

namespace {

constexpr reference::Grid kGrids[] = {{1, 1}, {1, 7}, {5, 1}, {3, 4}, {5, 5}, {7, 19}};

/// Tokens of a grid, D = 6 and E = 5.
template <class T>
struct Setup {
  Setup(Index B, Index H, const reference::Grid& g)
      : grid(g),
        rows(static_cast<Index>(g.rows)),
        columns(static_cast<Index>(g.columns)),
        q(even_values<T, 4>({B, H, rows * columns, 6}, 1, -2, 2)),
        k(even_values<T, 4>({B, H, rows * columns, 6}, 2, -2, 2)),
        v(even_values<T, 4>({B, H, rows * columns, 5}, 3)),
        slopes(manhattan_slopes<T>(H)) {}

  std::size_t heads() const { return static_cast<std::size_t>(q.extent(1)); }

  template <class Score>
  std::vector<double> run(const Score& score, const Context& ctx = Context()) const {
    Tensor<T, 4> out(v.shape());
    forward(Softmax{NoMask{}, score}, q, k, v, out, ctx);
    return doubles_of(out.view());
  }

  std::vector<double> run_decomposed(const Context& ctx = Context()) const {
    Tensor<T, 4> out(v.shape());
    forward_decomposed(slopes.view(), rows, columns, q, k, v, out, ctx);
    return doubles_of(out.view());
  }

  reference::AttentionSizes sizes() const {
    return {static_cast<std::size_t>(q.extent(0)),
            heads(),
            heads(),
            grid.tokens(),
            grid.tokens(),
            6,
            5};
  }

  reference::Values ask(const reference::Values& values,
                        const reference::AttentionOptions& options) const {
    return reference::attention(sizes(), doubles_of(q.view()), doubles_of(k.view()), values,
                                options)
        .out;
  }

  /// Attention with the Manhattan bias along both axes or one.
  reference::Values manhattan(const reference::Values& values, bool along_y, bool along_x) const {
    reference::AttentionOptions options;
    const auto decay = reference::manhattan_decay(heads(), 2, 4);
    options.bias = {reference::manhattan_bias(grid, decay, along_y, along_x, -HUGE_VAL), 1, heads(),
                    grid.tokens(), grid.tokens()};
    return ask(values, options);
  }

  /// Attention of each token to its row, its column or all, times the decay of the distance.
  reference::Values decayed(const reference::Values& values, bool along_y, bool along_x) const {
    reference::AttentionOptions options;
    const reference::Values flat(heads(), 0.0), decay = reference::manhattan_decay(heads(), 2, 4);
    options.bias = {reference::manhattan_bias(grid, flat, along_y, along_x, -HUGE_VAL), 1, heads(),
                    grid.tokens(), grid.tokens()};
    reference::Values factor = reference::manhattan_bias(grid, decay, along_y, along_x, 0.0);
    for (double& x : factor) x = std::exp(x);
    options.weight_factor = {factor, 1, heads(), grid.tokens(), grid.tokens()};
    return ask(values, options);
  }

  reference::Grid grid;
  Index rows, columns;
  Tensor<T, 4> q, k, v;
  Tensor<T, 1> slopes;
};

}  // namespace

TEST_CASE("Gaussian mixture mask agrees with the reference", "[softmax]") {
  const auto alpha = even_values<double, 2>({3, 2}, 4, -1, 2);
  auto sigma = even_values<double, 2>({3, 2}, 5, 0, 3);
  sigma(1, 1) = 0;  // only the token itself
  for (const auto& grid : kGrids) {
    const Setup<double> s(2, 2, grid);
    const auto table = gaussian_mixture_table(alpha.view(), sigma.view(), s.rows, s.columns);
    reference::AttentionOptions options;
    options.factor = {
        reference::gaussian_mixture(grid, doubles_of(alpha.view()), doubles_of(sigma.view()), 2), 1,
        2, grid.tokens(), grid.tokens()};
    CHECK(largest_error(s.run(GridFactor{table.view()}), s.ask(doubles_of(s.v.view()), options)) <
          1e-13);
  }
}

TEST_CASE("grid factor: one is plain attention, zero the mean; far offsets in float", "[softmax]") {
  const Setup<float> s(1, 3, {4, 6});
  const auto constant = [&](float x) {
    return grid_table<float>(1, 4, 6, [x](Index, Index, Index) { return x; });
  };
  reference::AttentionOptions plain, zero;
  zero.scale = 0.0;
  const auto values = doubles_of(s.v.view());
  CHECK(largest_error(s.run(GridFactor{constant(1).view()}), s.ask(values, plain)) < 1e-5);
  CHECK(largest_error(s.run(GridFactor{constant(0).view()}), s.ask(values, zero)) < 1e-5);
  // exp(-dist2) itself underflows in float beyond a distance of about 10.
  Tensor<float, 2> alpha({1, 1}), sigma({1, 1});
  alpha(0, 0) = 1, sigma(0, 0) = 20;
  const auto wide = gaussian_mixture_table(alpha.view(), sigma.view(), 1, 40);
  CHECK(wide(0, 0, 39) == Approx(std::exp(-39.0 * 39.0 / 800)).epsilon(1e-4));
}

TEST_CASE("Manhattan attention, whole and decomposed, agrees with the reference", "[softmax]") {
  for (const auto& grid : kGrids) {
    const Setup<double> s(2, 3, grid);
    const auto values = doubles_of(s.v.view());
    const auto table = manhattan_table<double>(s.slopes.view(), s.rows, s.columns);
    CHECK(largest_error(s.run(GridBias{table.view()}), s.manhattan(values, true, true)) < 1e-13);
    CHECK(largest_error(s.run_decomposed(),
                        s.manhattan(s.manhattan(values, false, true), true, false)) < 1e-13);
    const Setup<float> rounded(1, 2, grid);
    const auto rounded_values = doubles_of(rounded.v.view());
    CHECK(largest_error(rounded.run_decomposed(),
                        rounded.manhattan(rounded.manhattan(rounded_values, false, true), true,
                                          false)) < 1e-5);
  }
}

TEST_CASE("Manhattan decay of weights, whole and decomposed, agrees with the reference",
          "[softmax]") {
  for (const auto& grid : kGrids) {
    const Setup<double> s(2, 3, grid);
    const auto values = doubles_of(s.v.view());
    const auto decay = [&](Index rows, Index columns) {
      return manhattan_decay<double>(s.slopes.view(), rows, columns);
    };
    const auto factor = [](const Tensor<double, 3>& table) {
      return WeightFactor{GridFactor{table.view()}};
    };
    const auto all = decay(s.rows, s.columns), x = decay(1, s.columns), y = decay(s.rows, 1);
    CHECK(largest_error(s.run(factor(all)), s.decayed(values, true, true)) < 1e-13);
    Tensor<double, 4> out(s.v.shape());
    forward_axial(Softmax{NoMask{}, factor(x)}, Softmax{NoMask{}, factor(y)}, s.rows, s.columns,
                  s.q, s.k, s.v, out);
    CHECK(largest_error(doubles_of(out.view()),
                        s.decayed(s.decayed(values, false, true), true, false)) < 1e-13);
  }
}

TEST_CASE("Manhattan attention: one row needs no second pass; threads; empty batch", "[softmax]") {
  const Setup<double> line(1, 2, {1, 33});
  const auto table = manhattan_table<double>(line.slopes.view(), 1, 33);
  CHECK(largest_error(line.run(GridBias{table.view()}), line.run_decomposed()) < 1e-13);
  const Setup<float> s(2, 3, {7, 19});
  const auto bias = manhattan_table<float>(s.slopes.view(), 7, 19);
  CHECK(
      same_for_any_threads([&](const Context& ctx) { return s.run(GridBias{bias.view()}, ctx); }));
  CHECK(same_for_any_threads([&](const Context& ctx) { return s.run_decomposed(ctx); }));
  CHECK(Setup<float>(0, 2, {3, 4}).run_decomposed().empty());
}

TEST_CASE("grid scores refuse what does not fit", "[softmax][errors]") {
  const Setup<float> s(1, 2, {3, 4});
  const auto refusal = [&](Index heads, Index rows, Index columns) {
    const auto table =
        grid_table<float>(heads, rows, columns, [](Index, Index, Index) { return 0; });
    return message_of([&] { s.run(GridBias{table.view()}); });
  };
  Tensor<float, 3> bad({1, 4, 16});
  CHECK(contains(refusal(3, 3, 4), "grid table for 3 heads, q has 2"));
  CHECK(contains(refusal(2, 3, 5), "grid of 3 x 5 tokens, q has 12 and k 12"));
  CHECK(contains(message_of([&] { s.run(GridBias{bad.view()}); }), "none that grid_table makes"));
  CHECK(contains(
      message_of([] { grid_table<float>(1, 0, 2, [](Index, Index, Index) { return 0; }); }),
      "grid of 0 x 2"));
  CHECK(contains(message_of([] { manhattan_slopes(0); }), "heads is 0"));
  CHECK(contains(message_of([] { manhattan_slopes(2, 0, 1); }), "initial is 0"));
  CHECK(contains(message_of([] { manhattan_frequencies(5); }), "5 rotary channels"));
  Tensor<float, 4> out(s.v.shape());
  CHECK(contains(message_of([&] { forward_decomposed(s.slopes.view(), 3, 5, s.q, s.k, s.v, out); }),
                 "grid of 3 x 5, but there are 12 tokens"));
  CHECK(contains(message_of([&] {
                   forward_decomposed(s.slopes.view(), 3, 4, s.q, s.k, s.v.view().slice(1, 0, 1),
                                      out);
                 }),
                 "q has 2 heads"));
  Tensor<float, 2> alpha({3, 2}), sigma({2, 2});
  CHECK(contains(message_of([&] { gaussian_mixture_table(alpha.view(), sigma.view(), 2, 2); }),
                 "alpha is"));
}
