#include "attention/linear/dense.hpp"
#include "reference/norm.hpp"
#include <weft/attention/linear/gated_unit.hpp>

using namespace weft;
using images::flat;
using images::tokens_of;
using linear_cases::Layer;

namespace {

/// T5's bucket of a distance, 32 of them: eq. of the paper, see position tests.
double bias_of(const Tensor<double, 1>& buckets, bool causal, long distance, Index channels) {
  return std::sqrt(static_cast<double>(channels)) *
         buckets(relative_bucket({32, 128, !causal}, static_cast<Index>(distance)));
}

}  // namespace

TEST_CASE("gated unit: attention and feed-forward in one", "[linear][linear/gau]") {
  constexpr Index B = 2, N = 37, C = 6, E = 9, S = 5;
  const Layer hidden(2 * E, C, 1), shared(S, C, 3), out(C, E, 5);
  const auto gamma = even_values<double, 2>({2, S}, 7), beta = even_values<double, 2>({2, S}, 8);
  const auto buckets = even_values<double, 1>({32}, 9);
  const auto x = even_values<double, 3>({B, N, C}, 10);
  for (const bool causal : {false, true}) {
    const auto check = [&](auto weights, auto f) {
      const GatedUnit<DenseOperator<double>, decltype(weights), double> unit{
          {}, hidden.op(), shared.op(), out.op(), gamma, beta, buckets, causal, weights};
      const Poisoned<double, 3> y(x.shape());
      forward(unit, x, y.view());
      for (Index b = 0; b < B; ++b) {
        auto rows = tokens_of(x, b);
        for (auto& row : rows) row = reference::layer_norm(row, 1e-5);
        const auto truth = reference::plus(
            tokens_of(x, b),
            reference::gated_unit(
                rows, hidden.dense(), shared.dense(), out.dense(),
                tokens_of(unsqueeze(gamma.view()), 0), tokens_of(unsqueeze(beta.view()), 0), causal,
                [&](long d) { return bias_of(buckets, causal, d, C); }, f));
        CHECK(largest_error(doubles_of(y.view().select(0, b)), flat(truth)) <= 1e-13);
      }
      CHECK(y.guards_intact());
    };
    check(ReluWeights<2>{Count::one}, [](double s) { return s > 0 ? s * s : 0; });
    check(LaplaceWeights{}, [](double s) {
      const double sigma = std::sqrt(1 / (4 * std::acos(-1.0)));
      return (1 + std::erf((s - std::sqrt(0.5)) / (sigma * std::sqrt(2.0)))) / 2;
    });
  }
  const GatedUnit<DenseOperator<double>, ReluWeights<2>, double> wrong{
      {}, hidden.op(), shared.op(), hidden.op(), gamma, beta, buckets};
  Tensor<double, 3> y(x.shape());
  CHECK(contains(message_of([&] { forward(wrong, x, y); }), "C -> 2 E, C -> S and E -> C"));
}
