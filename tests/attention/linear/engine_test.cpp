#include "attention/linear/heads.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"

using namespace weft;
using namespace linear_cases;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Data of the policies of one call, as the library and the reference want them.
struct Gates {
  Tensor<float, 3> per_token, beta;
  Tensor<float, 4> per_channel;

  /// Logs of decay are -strength times even numbers of [0, 1).
  Gates(Index B, Index H, Index N, Index F, double strength)
      : per_token(even_values<float, 3>({B, H, N}, 4, -strength, 0)),
        beta(even_values<float, 3>({B, H, N}, 5, 0, 1.9)),
        per_channel(even_values<float, 4>({B, H, N, F}, 6, -strength, 0)) {}

  LinearOptions options(Index b, Index h, DecayKind kind, bool weights) const {
    LinearOptions o;
    for (Index t = 0; t < beta.extent(2); ++t) {
      if (kind == DecayKind::number) o.log_decay.push_back({double(per_token(b, h, t))});
      if (kind == DecayKind::channels)
        o.log_decay.push_back(
            doubles_of(per_channel.view().select(0, b).select(0, h).select(0, t)));
      if (weights) o.weights.push_back(double(beta(b, h, t)));
    }
    return o;
  }
};

/// Calls f(mixer, kind of decay, whether it has weights, whether they are of the delta rule).
template <class F>
void for_each_mixer(const Gates& gates, F f) {
  const TokenDecay token{gates.per_token};
  const ChannelDecay channel{gates.per_channel};
  const Weighted weighted{gates.beta};
  const Delta delta{gates.beta};
  f(LinearAttention{}, DecayKind::none, false, false);
  f(LinearAttention{Identity{}, token, weighted}, DecayKind::number, true, false);
  f(LinearAttention{Identity{}, channel}, DecayKind::channels, false, false);
  f(LinearAttention{Identity{}, NoDecay{}, delta}, DecayKind::none, true, true);
  f(LinearAttention{Identity{}, token, delta}, DecayKind::number, true, true);
  f(LinearAttention{Identity{}, channel, delta}, DecayKind::channels, true, true);
}

/// Sums of F products, F (1 + beta) times as many by the delta rule's solve, decays of up to 16.
double bound(Index features) { return tolerance<float>(32 + static_cast<double>(features)); }

struct Size {
  Index N, D, E;
};

}  // namespace

TEST_CASE("linear engine: all decays and updates agree with the recurrence", "[linear]") {
  for (const auto& [N, D, E] : {Size{1, 1, 1}, Size{7, 5, 3}, Size{49, 16, 16}, Size{131, 40, 72},
                                Size{97, 130, 48}, Size{0, 4, 4}}) {
    const Inputs<float> in(2, 2, N, D, E);
    for (const double strength : {0.02, 0.3, 1.0, 40.0}) {
      const Gates gates(2, 2, N, D, strength);
      for_each_mixer(gates, [&](const auto& mixer, DecayKind kind, bool weights, bool delta) {
        const auto truth = expected(in, true, unchanged, [&](Index b, Index h) {
          auto o = gates.options(b, h, kind, weights);
          o.delta = delta;
          return o;
        });
        INFO("N=" << in.q.extent(2) << " D=" << in.q.extent(3) << " E=" << in.v.extent(3)
                  << " strength=" << strength << " kind=" << int(kind) << " delta=" << delta);
        CHECK(largest_error(run_forward(mixer, in), truth) <= bound(in.q.extent(3)));
      });
    }
  }
}

TEST_CASE("linear engine: chunks and tokens give what forward gives", "[linear]") {
  constexpr Index N = 150, D = 20, E = 24;
  const Inputs<float> in(1, 2, N, D, E);
  const Gates all(1, 2, N, D, 0.3);
  std::vector<std::vector<double>> whole;
  for_each_mixer(all, [&](const auto& mixer, auto...) { whole.push_back(run_forward(mixer, in)); });
  for (const std::vector<Index>& splits :
       {std::vector<Index>{70, 1, 0, 2, 48, 29}, std::vector<Index>(N, 1)}) {
    // A mixer holds the gates of its call, so every chunk has one of its own.
    std::size_t which = 0;
    for_each_mixer(all, [&](const auto& of_all, auto...) {
      auto state = make_state(of_all, {1, 2, D, E});
      Tensor<float, 4> out(in.out_shape());
      Index at = 0;
      for (const Index n : splits) {
        const auto part = [&](auto view) { return view.slice(2, at, n); };
        auto mixer = of_all;
        if constexpr (requires { mixer.decay.log_decay; })
          mixer.decay.log_decay = part(mixer.decay.log_decay);
        if constexpr (requires { mixer.update.weight; })
          mixer.update.weight = part(mixer.update.weight);
        prefill(mixer, state, part(in.q.view()), part(in.k.view()), part(in.v.view()),
                part(out.view()));
        at += n;
      }
      CHECK(state.position == N);
      CHECK(largest_error(doubles_of(out.view()), whole[which++]) <= bound(D));
    });
  }
}

TEST_CASE("linear engine: step is prefill of one token, and the state is a plain array",
          "[linear]") {
  const Inputs<float> in(2, 3, 6, 8, 5);
  const LinearAttention mixer{EluPlusOne{}, NoDecay{}, Additive{}, PlusEpsilon{}};
  auto state = make_state(mixer, {2, 3, 8, 5});
  CHECK(state.bytes() == 2 * 3 * 8 * 6 * 4);
  const auto whole = run_forward(mixer, in);
  Tensor<float, 4> out(in.out_shape());
  const auto run = [&](Index from, Index to) {
    for (Index t = from; t < to; ++t)
      step(mixer, state, in.q.view().select(2, t), in.k.view().select(2, t),
           in.v.view().select(2, t), out.view().select(2, t));
  };
  run(0, 3);
  auto kept = state.clone();
  run(3, 6);
  CHECK(largest_error(doubles_of(out.view()), whole) <= bound(8));
  state = std::move(kept);
  run(3, 6);
  CHECK(state.position == 6);
  CHECK(largest_error(doubles_of(out.view()), whole) <= bound(8));
}

TEST_CASE("linear engine: a decay of -infinity empties the state", "[linear]") {
  const Inputs<float> in(1, 1, 60, 8, 8);
  Gates gates(1, 1, 60, 8, 0.1);
  gates.per_token(0, 0, 30) = -static_cast<float>(kInfinity);
  for (Index f = 0; f < 8; ++f) gates.per_channel(0, 0, 30, f) = -static_cast<float>(kInfinity);
  for_each_mixer(gates, [&](const auto& mixer, DecayKind kind, bool weights, bool delta) {
    const auto truth = expected(in, true, unchanged, [&](Index b, Index h) {
      auto o = gates.options(b, h, kind, weights);
      o.delta = delta;
      return o;
    });
    CHECK(largest_error(run_forward(mixer, in), truth) <= bound(8));
  });
}

TEST_CASE("linear engine: what is not finite reaches no earlier token", "[linear]") {
  constexpr Index N = 100, bad = 53;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto poison = [&](int what, Inputs<float>& in, Gates& gates) {
    if (what == 0) in.q(0, 0, bad, 3) = nan;
    if (what == 1) in.k(0, 0, bad, 3) = nan;
    if (what == 2) in.v(0, 0, bad, 3) = static_cast<float>(kInfinity);
    if (what == 3) gates.per_token(0, 0, bad) = gates.per_channel(0, 0, bad, 2) = nan;
    if (what == 4) gates.beta(0, 0, bad) = nan;
  };
  for (int what = 0; what < 5; ++what) {
    Inputs<float> in(1, 2, N, 8, 8);
    Gates gates(1, 2, N, 8, 0.1);
    std::vector<std::vector<double>> clean;
    for_each_mixer(gates,
                   [&](const auto& mixer, auto...) { clean.push_back(run_forward(mixer, in)); });
    poison(what, in, gates);
    std::size_t which = 0;
    for_each_mixer(gates, [&](const auto& mixer, auto...) {
      const auto got = run_forward(mixer, in);
      const auto& before = clean[which++];
      const auto part = [&](const auto& x, Index from, Index to) {
        return std::vector<double>(x.begin() + from * 8, x.begin() + to * 8);
      };
      INFO("poison " << what << ", mixer " << which);
      CHECK(largest_error(part(got, 0, bad), part(before, 0, bad)) <= bound(8));
      CHECK(largest_error(part(got, N, 2 * N), part(before, N, 2 * N)) <= bound(8));
      if (what == 0)
        CHECK(largest_error(part(got, bad + 1, N), part(before, bad + 1, N)) <= bound(8));
      if (what == 0 || what == 1) CHECK(std::isnan(got[bad * 8 + 1]));
    });
  }
}

TEST_CASE("linear engine: without an order every query sees every key", "[linear]") {
  for (const auto& [B, Hq, Hk, Hv, N, M] :
       {std::array<Index, 6>{2, 2, 2, 2, 7, 100}, {1, 4, 1, 2, 60, 9}, {1, 1, 1, 1, 5, 0}}) {
    const Inputs<float> in(B, Hq, Hk, Hv, N, M, 12, 10);
    const auto half = [](double den, std::size_t keys) { return keys == 0 ? 0 : 1 / (den + 6); };
    const auto truth = expected(in, false, unchanged, [&](Index, Index) {
      LinearOptions o;
      o.scale = 0.5;
      o.factor = half;
      return o;
    });
    const LinearAttention mixer{Identity{},     NoDecay{}, Additive{},
                                PlusEpsilon{6}, 0.5,       Order::bidirectional};
    CHECK(largest_error(run_forward(mixer, in), truth) <= bound(120));
  }
}

TEST_CASE("linear engine: heads share queries, keys or values", "[linear]") {
  for (const auto& [Hq, Hk, Hv] : {std::array<Index, 3>{1, 1, 4}, {4, 2, 2}, {2, 2, 6}}) {
    const Inputs<float> in(2, Hq, Hk, Hv, 30, 30, 8, 8);
    const Gates gates(2, in.heads, 30, 8, 0.2);
    const auto truth = expected(in, true, unchanged, [&](Index b, Index h) {
      auto o = gates.options(b, h, DecayKind::number, true);
      o.delta = true;
      return o;
    });
    const LinearAttention mixer{Identity{}, TokenDecay{gates.per_token}, Delta{gates.beta}};
    CHECK(largest_error(run_forward(mixer, in), truth) <= bound(8));
  }
}

TEST_CASE("linear engine: threads change nothing", "[linear]") {
  const Inputs<float> in(2, 3, 110, 24, 40);
  const Gates gates(2, 3, 110, 24, 0.5);
  for_each_mixer(gates, [&](const auto& mixer, auto...) {
    CHECK(same_for_any_threads([&](const Context& ctx) { return run_forward(mixer, in, ctx); }));
  });
}
