#include "attention/linear/heads.hpp"
#include "support/catch.hpp"
#include <weft/attention/delta.hpp>

using namespace weft;
using namespace linear_cases;

namespace {

Rows unit_rows(Rows x) {
  for (auto& row : x) {
    double sum = 1e-6;
    for (const double v : row) sum += v * v;
    for (double& v : row) v /= std::sqrt(sum);
  }
  return x;
}

Tensor<double, 3> constant(Index B, Index H, Index N, double value) {
  Tensor<double, 3> out({B, H, N});
  std::fill_n(out.data(), out.size(), value);
  return out;
}

/// Orthonormal keys: the unit vectors.
Inputs<double> unit_vectors(Index N, Index E) {
  Inputs<double> in(1, 1, N, N, E);
  std::fill_n(in.k.data(), in.k.size(), 0.0);
  for (Index i = 0; i < N; ++i) in.k(0, 0, i, i) = 1;
  return in;
}

constexpr double kExact = 1e-14;

}  // namespace

TEST_CASE("delta net: agrees with the recurrence",
          "[delta][delta/delta_net][delta/gated_delta_net]") {
  const Inputs<double> in(2, 2, 2, 4, 90, 90, 12, 20);
  const auto beta = even_values<double, 3>({2, 4, 90}, 7, 0, 2);
  const auto decay = even_values<double, 3>({2, 4, 90}, 8, -1, 0);
  const auto features = [](Rows x, bool, Index, Index) { return unit_rows(std::move(x)); };
  for (const bool gated : {false, true}) {
    const auto truth = expected(in, true, features, [&](Index b, Index h) {
      LinearOptions o;
      o.scale = 1 / std::sqrt(12.0);
      o.delta = true;
      o.weights = doubles_of(beta.view().select(0, b).select(0, h));
      if (gated)
        for (const double g : doubles_of(decay.view().select(0, b).select(0, h)))
          o.log_decay.push_back({g});
      return o;
    });
    const auto got =
        gated ? run_forward(gated_delta_net(decay, beta), in) : run_forward(delta_net(beta), in);
    CHECK(largest_error(got, truth) <= 1e-13);
  }
}

TEST_CASE("delta net: orthonormal keys written once are linear attention", "[delta]") {
  const Inputs<double> in = unit_vectors(40, 8);
  const auto ones = constant(1, 1, 40, 1);
  auto plain = LinearAttention<>{};
  plain.scale = 0;
  CHECK(largest_error(run_forward(delta_net(ones, Identity{}), in), run_forward(plain, in)) <=
        kExact);
}

TEST_CASE("delta net: writing twice is writing once, and reads give the value", "[delta]") {
  Inputs<double> in = unit_vectors(2, 3);
  for (Index e = 0; e < 3; ++e) in.v(0, 0, 1, e) = in.v(0, 0, 0, e);
  for (Index d = 0; d < 2; ++d)
    for (Index t = 0; t < 2; ++t) in.q(0, 0, t, d) = in.k(0, 0, t, d) = d == 0 ? 1 : 0;
  const auto got = run_forward(delta_net(constant(1, 1, 2, 1), Identity{}), in);
  for (std::size_t e = 0; e < 3; ++e) {
    const double stored = in.v(0, 0, 0, static_cast<Index>(e)) / std::sqrt(2.0);
    CHECK(std::abs(got[e] - stored) <= kExact);
    CHECK(std::abs(got[3 + e] - stored) <= kExact);
  }
}

TEST_CASE("delta net: beta 0 leaves the state, a decay of 0 changes nothing", "[delta]") {
  const Inputs<double> in(1, 2, 50, 8, 8);
  const auto zero = constant(1, 2, 50, 0), half = constant(1, 2, 50, 0.5);
  for (const double x : run_forward(delta_net(zero), in)) CHECK(x == 0);
  CHECK(largest_error(run_forward(gated_delta_net(zero, half), in),
                      run_forward(delta_net(half), in)) <= kExact);
}

TEST_CASE("delta net: what is forgotten at once leaves each token to itself", "[delta]") {
  const Inputs<double> in(1, 1, 20, 4, 3);
  const auto forget = constant(1, 1, 20, -std::numeric_limits<double>::infinity());
  const auto beta = even_values<double, 3>({1, 1, 20}, 9, 0, 1);
  const auto got = run_forward(gated_delta_net(forget, beta, Identity{}), in);
  for (Index t = 0; t < 20; ++t) {
    double dot = 0;
    for (Index d = 0; d < 4; ++d) dot += in.q(0, 0, t, d) * in.k(0, 0, t, d);
    for (Index e = 0; e < 3; ++e)
      CHECK(std::abs(got[static_cast<std::size_t>(t * 3 + e)] -
                     beta(0, 0, t) * dot / 2 * in.v(0, 0, t, e)) <= kExact);
  }
}

TEST_CASE("delta net: a gate per channel that is the same for all is a gate per token",
          "[delta][delta/channel_gated_delta_net]") {
  const Inputs<double> in(1, 2, 60, 6, 5);
  const auto decay = even_values<double, 3>({1, 2, 60}, 8, -0.5, 0);
  const auto beta = even_values<double, 3>({1, 2, 60}, 9, 0, 1);
  const View<const double, 4> per_channel(decay.data(), {1, 2, 60, 1}, {120, 60, 1, 1});
  Tensor<double, 4> spread({1, 2, 60, 6});
  for (Index h = 0; h < 2; ++h)
    for (Index t = 0; t < 60; ++t)
      for (Index f = 0; f < 6; ++f) spread(0, h, t, f) = per_channel(0, h, t, 0);
  CHECK(largest_error(run_forward(channel_gated_delta_net(spread, beta), in),
                      run_forward(gated_delta_net(decay, beta), in)) <= kExact);
}
