#include "attention/linear/heads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"

using namespace weft;
using namespace linear_cases;

TEST_CASE("retention: decays of the heads, also where they round to one", "[linear]") {
  const auto logs = retention_log_decay<double>(30);
  CHECK(std::abs(logs(0) - std::log(1 - 1 / 32.0)) <= 1e-16);
  for (Index h = 0; h < 30; ++h) {
    const double small = std::exp2(-5.0 - double(h));
    CHECK(std::abs(logs(h) + small + small * small / 2) <= small * small * small);
  }
  CHECK(contains(message_of([] { retention_log_decay(0); }), "0 heads"));
}

TEST_CASE("retention: agrees with its sum over pairs of rotated tokens",
          "[linear][linear/retention]") {
  constexpr Index H = 3, N = 70, D = 6, E = 5;
  const Inputs<double> in(1, H, N, D, E);
  const auto logs = retention_log_decay<double>(H);
  const RopeTable<double> table(retention_frequencies(D), RopeLayout::interleaved, N);
  const auto got = run_forward(retention(logs, Rotary{table}), in);
  std::vector<double> truth;
  for (Index h = 0; h < H; ++h)
    for (Index i = 0; i < N; ++i) {
      std::vector<double> row(E, 0.0);
      for (Index j = 0; j <= i; ++j) {
        // The product of the rotated pairs turns by the distance alone.
        double dot = 0;
        for (Index p = 0; p < D / 2; ++p) {
          const double angle = double(i - j) * std::pow(10000.0, -double(p) / (D / 2 - 1));
          const double qx = in.q(0, h, i, 2 * p), qy = in.q(0, h, i, 2 * p + 1);
          const double kx = in.k(0, h, j, 2 * p), ky = in.k(0, h, j, 2 * p + 1);
          dot += std::cos(angle) * (qx * kx + qy * ky) - std::sin(angle) * (qy * kx - qx * ky);
        }
        const double weight = dot * std::exp(double(i - j) * logs(h)) / std::sqrt(double(D));
        for (Index e = 0; e < E; ++e) row[static_cast<std::size_t>(e)] += weight * in.v(0, h, j, e);
      }
      truth.insert(truth.end(), row.begin(), row.end());
    }
  CHECK(largest_error(got, truth) <= 1e-13);
}

TEST_CASE("retention: frequencies end at 1 / base; heads without pairs are refused", "[linear]") {
  const auto f = retention_frequencies(8).radians;
  REQUIRE(f.size() == 4);
  CHECK(f[0] == 1);
  CHECK(std::abs(f[1] - std::pow(10000, -1.0 / 3)) <= 1e-16);
  CHECK(std::abs(f[3] - 1e-4) <= 1e-19);
  CHECK(retention_frequencies(2).radians == std::vector<double>{1});
  CHECK(contains(message_of([] { retention_frequencies(3); }), "must be even"));
}

TEST_CASE("rotary features: positions go on over a stream, and must be in the table", "[linear]") {
  constexpr Index H = 2, N = 50, D = 10;
  const Inputs<double> in(1, H, N, D, 4);
  const RopeTable<double> table(rope_frequencies(8), RopeLayout::half, N);  // two channels stay
  const LinearAttention mixer{Rotary{table}};
  const auto whole = run_forward(mixer, in);
  auto state = make_state<double>(mixer, {1, H, D, 4});
  Tensor<double, 4> out(in.out_shape());
  for (const Index at : {0, 20, 40}) {
    const auto part = [&](auto view) { return view.slice(2, at, std::min<Index>(20, N - at)); };
    prefill(mixer, state, part(in.q.view()), part(in.k.view()), part(in.v.view()),
            part(out.view()));
  }
  CHECK(largest_error(doubles_of(out.view()), whole) <= 1e-13);
  CHECK(contains(message_of([&] {
                   step(mixer, state, in.q.view().select(2, 0), in.k.view().select(2, 0),
                        in.v.view().select(2, 0), out.view().select(2, 0));
                 }),
                 "leave the table's [0, 50)"));
  CHECK(state.position == N);
  const RopeTable<double> wide(rope_frequencies(12), RopeLayout::half, N);
  CHECK(contains(message_of([&] { run_forward(LinearAttention{Rotary{wide}}, in); }),
                 "the table turns 12 channels"));
}

TEST_CASE("gated linear attention: no gate is linear attention, a constant one retention",
          "[linear][linear/gla][linear/simple_gla]") {
  constexpr Index H = 2, N = 100, D = 8, E = 6;
  const Inputs<double> in(1, H, N, D, E);
  auto plain = LinearAttention<>{};
  plain.scale = 0;
  Tensor<double, 3> per_token({1, H, N});
  Tensor<double, 4> per_channel({1, H, N, D});
  const auto whole = run_forward(plain, in);
  CHECK(largest_error(run_forward(simple_gated_linear(per_token), in), whole) <= 1e-14);
  CHECK(largest_error(run_forward(gated_linear(per_channel), in), whole) <= 1e-14);

  const auto logs = retention_log_decay<double>(H);
  for (Index h = 0; h < H; ++h)
    for (Index t = 0; t < N; ++t) {
      per_token(0, h, t) = logs(h);
      for (Index d = 0; d < D; ++d) per_channel(0, h, t, d) = logs(h);
    }
  const auto retained = run_forward(retention(logs), in);
  CHECK(largest_error(run_forward(simple_gated_linear(per_token), in), retained) <= 1e-14);
  CHECK(largest_error(run_forward(gated_linear(per_channel), in), retained) <= 1e-14);
}
