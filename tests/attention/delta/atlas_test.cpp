#include "reference/atlas.hpp"

#include "attention/linear/heads.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/delta.hpp>
#include <weft/attention/delta/atlas.hpp>

using namespace weft;
using namespace linear_cases;

namespace {

struct Gates {
  Tensor<double, 3> alpha, eta, theta;
  Tensor<double, 4> gamma;

  Gates(Index B, Index H, Index N, Index window)
      : alpha(even_values<double, 3>({B, H, N}, 11, 0.8, 1)),
        eta(even_values<double, 3>({B, H, N}, 12, 0.05, 0.2)),
        theta(even_values<double, 3>({B, H, N}, 13, 0, 0.9)),
        gamma(even_values<double, 4>({B, H, N, window}, 14, 0, 1)) {}

  template <class Memory>
  Atlas<Memory, double> mixer(Memory memory) const {
    Atlas<Memory, double> m{memory, alpha, eta, theta, gamma};
    m.window = gamma.extent(3);
    return m;
  }

  reference::AtlasGates of_head(Index b, Index h) const {
    const auto numbers = [&](const Tensor<double, 3>& x) {
      return doubles_of(x.view().select(0, b).select(0, h));
    };
    return {numbers(alpha), numbers(eta), numbers(theta), rows_of<double>(gamma.view(), b, h)};
  }
};

void fill(Tensor<double, 4>& x, std::uint64_t seed) { x = even_values<double, 4>(x.shape(), seed); }

template <class Mixer, class State>
std::vector<double> run(const Mixer& mixer, State& state, const Inputs<double>& in,
                        const Context& ctx = Context()) {
  const Poisoned<double, 4> out(in.out_shape());
  prefill(mixer, state, in.q, in.k, in.v, out.view(), ctx);
  CHECK(out.guards_intact());
  return doubles_of(out.view());
}

}  // namespace

TEST_CASE("atlas: linear and deep memories agree with the reference", "[delta][delta/atlas]") {
  constexpr Index B = 2, H = 2, N = 12, D = 5;
  const Inputs<double> in(B, H, N, D, D);
  const Gates gates(B, H, N, 3);
  const auto require_reference = [&](const auto& mixer, bool deep) {
    auto state = make_state(mixer, B, H, D, D);
    for (std::size_t i = 0; i < state.weights.size(); ++i) fill(state.weights[i], 20 + i);
    std::vector<double> truth;
    for (Index b = 0; b < B; ++b)
      for (Index h = 0; h < H; ++h) {
        const auto rows = [&](const Tensor<double, 4>& x) {
          return rows_of<double>(x.view(), b, h);
        };
        const reference::Memory memory{rows(state.weights[0]),
                                       deep ? rows(state.weights[1]) : reference::Matrix(), deep};
        for (const auto& row :
             reference::atlas(memory, rows(in.q), rows(in.k), rows(in.v), gates.of_head(b, h)))
          truth.insert(truth.end(), row.begin(), row.end());
      }
    CHECK(largest_error(run(mixer, state, in), truth) <= 1e-13);
  };
  require_reference(gates.mixer(LinearMemory{}), false);
  require_reference(gates.mixer(DeepMemory<>{7}), true);
}

TEST_CASE("atlas: the delta rule is a linear memory with a window of one", "[delta]") {
  const Inputs<double> in(1, 2, 30, 6, 4);
  const auto beta = even_values<double, 3>({1, 2, 30}, 9, 0, 1);
  Tensor<double, 3> ones({1, 2, 30}), none({1, 2, 30}), half({1, 2, 30});
  for (Index i = 0; i < beta.size(); ++i) {
    ones.data()[i] = 1;
    half.data()[i] = beta.data()[i] / 2;
  }
  const Atlas<LinearMemory, double> mixer{LinearMemory{}, ones, half, none};
  auto state = make_state(mixer, 1, 2, 6, 4);
  auto delta = delta_net(beta, Identity{});
  delta.scale = 1;
  CHECK(largest_error(run(mixer, state, in), run_forward(delta, in)) <= 1e-13);
}

TEST_CASE("atlas: chunks and tokens go on where the state is, threads change nothing", "[delta]") {
  const Inputs<double> in(1, 3, 20, 4, 4);
  const Gates gates(1, 3, 20, 4);
  auto mixer = gates.mixer(DeepMemory<SiluSlope>{5});
  mixer.steps = 3;
  mixer.block = 3;
  const auto fresh = [&] {
    auto state = make_state(mixer, 1, 3, 4, 4);
    for (std::size_t i = 0; i < state.weights.size(); ++i) fill(state.weights[i], 20 + i);
    return state;
  };
  auto state = fresh();
  const auto whole = run(mixer, state, in);
  CHECK(state.position == 20);
  CHECK(same_for_any_threads([&](const Context& ctx) {
    auto own = fresh();
    return run(mixer, own, in, ctx);
  }));
  auto again = fresh();
  Tensor<double, 4> at_once(in.out_shape());
  forward(mixer, again, in.q, in.k, in.v, at_once);
  CHECK(doubles_of(at_once.view()) == whole);
  CHECK(again.position == 0);
  Tensor<double, 4> out(in.out_shape());
  for (Index at = 0; at < 20;) {
    const Index n = std::min<Index>(20 - at, 7);
    const auto part = [&](auto view) { return view.slice(2, at, n); };
    auto chunk = mixer;
    for (auto* gate : {&chunk.alpha, &chunk.eta, &chunk.theta}) *gate = part(*gate);
    chunk.gamma = part(chunk.gamma);
    prefill(chunk, again, part(in.q.view()), part(in.k.view()), part(in.v.view()),
            part(out.view()));
    at += n;
  }
  CHECK(largest_error(doubles_of(out.view()), whole) <= 1e-12);
}

TEST_CASE("atlas: polynomial features are Kronecker powers", "[delta]") {
  const KroneckerPowers powers{{2, 3, 0.5}};
  REQUIRE(powers.size(2) == 7);
  const double x[2] = {5, -1};
  double to[7];
  powers.map(x, 2, to);
  const double expected[7] = {2, 15, -3, 12.5, -2.5, -2.5, 0.5};
  for (int i = 0; i < 7; ++i) CHECK(to[i] == expected[i]);
  CHECK(KroneckerPowers{}.size(9) == 9);
}

TEST_CASE("newton-schulz: singular values come near one, zeros stay, signs turn", "[delta]") {
  const auto g = even_values<double, 2>({4, 7}, 3);
  auto x = g.clone(), minus = g.clone();
  for (double& v : minus.span()) v = -v;
  newton_schulz<double>(x.view(), 5);
  newton_schulz<double>(minus.view(), 5);
  double trace = 0;
  for (Index i = 0; i < x.size(); ++i) {
    CHECK(x.data()[i] == -minus.data()[i]);
    trace += x.data()[i] * x.data()[i];
  }
  CHECK(trace > 4 * 0.5 * 0.5);
  CHECK(trace < 4 * 1.5 * 1.5);
  Tensor<double, 2> zero({3, 2});
  newton_schulz<double>(zero.view(), 5);
  for (const double v : zero.span()) CHECK(v == 0);
}

TEST_CASE("atlas: what does not fit is refused", "[delta]") {
  const Inputs<double> in(1, 2, 5, 4, 3);
  const Gates gates(1, 2, 5, 2);
  auto mixer = gates.mixer(LinearMemory{});
  auto state = make_state(mixer, 1, 2, 4, 3);
  Tensor<double, 4> out(in.out_shape());
  const auto refusal = [&](const auto& m) {
    return message_of([&] { prefill(m, state, in.q, in.k, in.v, out); });
  };
  CHECK(refusal(mixer).empty());
  mixer.window = 3;
  CHECK(contains(refusal(mixer), "gamma is"));
  mixer = gates.mixer(LinearMemory{});
  mixer.block = 4;
  CHECK(contains(refusal(mixer), "the state does not fit"));
  mixer.block = 0;
  CHECK(contains(refusal(mixer), "block must be positive"));
  const Gates longer(1, 2, 6, 2);
  CHECK(contains(refusal(longer.mixer(LinearMemory{})), "one number per token and head"));
  CHECK(contains(message_of([&] { make_state(gates.mixer(DeepMemory<>{4}), 1, 2, 4, 3); }),
                 "the residual needs"));
}
