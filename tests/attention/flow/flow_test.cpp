#include "reference/flow.hpp"

#include "attention/linear/heads.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/flow.hpp>

using namespace weft;
using namespace linear_cases;

namespace {

Rows sigmoid_of(Rows x) {
  for (auto& row : x)
    for (double& v : row) v = 1 / (1 + std::exp(-v));
  return x;
}

std::vector<double> truth_of(const Inputs<float>& in, const FlowAttention<>& mixer) {
  std::vector<double> all;
  for (Index b = 0; b < in.q.extent(0); ++b)
    for (Index h = 0; h < in.heads; ++h) {
      const auto head = [&](const Tensor<float, 4>& x) {
        return rows_of<float>(x.view(), b, h / (in.heads / x.extent(1)));
      };
      const auto out =
          reference::flow_attention(sigmoid_of(head(in.q)), sigmoid_of(head(in.k)), head(in.v),
                                    mixer.order == Order::causal, mixer.clamp, mixer.eps);
      for (const auto& row : out) all.insert(all.end(), row.begin(), row.end());
    }
  return all;
}

/// The scalars are quotients of sums of N D numbers, the result sums N of their products.
const double kTolerance = tolerance<float>(200);

}  // namespace

TEST_CASE("flow attention: forward agrees with the equations",
          "[flow][flow/flow_attention][flow/flow_attention_causal]") {
  for (const double clamp : {1.0, 0.1, 10.0}) {
    for (const auto& [N, M, D, E] :
         {std::array<Index, 4>{60, 60, 8, 8}, {7, 100, 20, 5}, {1, 1, 1, 1}, {49, 3, 17, 24}}) {
      const Inputs<float> in(2, 2, 1, 2, N, M, D, E);
      const FlowAttention all{Order::bidirectional, clamp};
      CHECK(largest_error(run_forward(all, in), truth_of(in, all)) <= kTolerance);
      if (N != M) continue;
      const FlowAttention causal{Order::causal, clamp};
      CHECK(largest_error(run_forward(causal, in), truth_of(in, causal)) <= kTolerance);
    }
  }
}

TEST_CASE("flow attention: chunks and tokens give what forward gives", "[flow]") {
  constexpr Index N = 120, H = 2, D = 12, E = 20;
  const Inputs<float> in(1, H, N, D, E);
  const FlowAttention mixer{Order::causal};
  const auto whole = run_forward(mixer, in);
  for (const std::vector<Index>& splits :
       {std::vector<Index>{1, 70, 0, 49}, std::vector<Index>(N, 1)}) {
    auto state = make_state(mixer, {1, H, D, E});
    CHECK(state.bytes() == H * ((D * E + 4 * 16) * 4 + 8));
    Tensor<float, 4> out(in.out_shape());
    Index at = 0;
    for (const Index n : splits) {
      const auto part = [&](auto view) { return view.slice(2, at, n); };
      if (n == 1)
        step(mixer, state, in.q.view().select(2, at), in.k.view().select(2, at),
             in.v.view().select(2, at), out.view().select(2, at));
      else
        prefill(mixer, state, part(in.q.view()), part(in.k.view()), part(in.v.view()),
                part(out.view()));
      at += n;
    }
    CHECK(largest_error(doubles_of(out.view()), whole) <= kTolerance);
  }
}

TEST_CASE("flow attention: a saved state goes on where it was", "[flow]") {
  const Inputs<float> in(1, 1, 10, 4, 4);
  const FlowAttention mixer{Order::causal};
  auto state = make_state(mixer, {1, 1, 4, 4});
  Tensor<float, 4> first({1, 1, 5, 4}), again({1, 1, 5, 4});
  const auto run = [&](Index at, Tensor<float, 4>& out) {
    const auto part = [&](const auto& x) { return x.view().slice(2, at, 5); };
    prefill(mixer, state, part(in.q), part(in.k), part(in.v), out);
  };
  run(0, first);
  auto kept = state.clone();
  run(5, first);
  state = std::move(kept);
  run(5, again);
  CHECK(doubles_of(first.view()) == doubles_of(again.view()));
}

TEST_CASE("flow attention: the order of keys does not matter, that of later tokens neither",
          "[flow]") {
  Inputs<float> in(1, 1, 30, 8, 8);
  const FlowAttention all{Order::bidirectional}, causal{Order::causal};
  const auto before = run_forward(all, in), earlier = run_forward(causal, in);
  for (Tensor<float, 4>* x : {&in.k, &in.v})
    for (Index d = 0; d < 8; ++d) std::swap((*x)(0, 0, 20, d), (*x)(0, 0, 29, d));
  CHECK(largest_error(run_forward(all, in), before) <= kTolerance);
  const auto after = run_forward(causal, in);
  CHECK(std::equal(after.begin(), after.begin() + 20 * 8, earlier.begin()));
  CHECK(same_for_any_threads([&](const Context& ctx) { return run_forward(all, in, ctx); }));
}

TEST_CASE("flow attention: extreme inputs stay finite", "[flow]") {
  Inputs<float> in(1, 1, 20, 8, 8);
  for (const float size : {-100.f, 100.f}) {
    for (Tensor<float, 4>* x : {&in.q, &in.k})
      for (float& value : x->span()) value = size;
    for (const Order order : {Order::causal, Order::bidirectional})
      for (const double value : run_forward(FlowAttention{order}, in)) CHECK(std::isfinite(value));
  }
}

TEST_CASE("flow attention: what does not fit is refused", "[flow]") {
  const auto refusal = [](const FlowAttention<>& mixer, Index M) {
    const Inputs<float> in(1, 1, 1, 1, 4, M, 8, 8);
    return message_of([&] { run_forward(mixer, in); });
  };
  CHECK(contains(refusal({Order::bidirectional, 0}, 4), "clamp is 0"));
  CHECK(contains(refusal({Order::bidirectional, 1, -1}, 4), "eps is -1"));
  CHECK(contains(refusal({Order::bidirectional}, 0), "queries but no keys"));
  CHECK(contains(refusal({Order::causal}, 5), "the order being causal"));
  auto state = make_state(FlowAttention{}, {1, 2, 8, 8});
  const Inputs<float> in(1, 1, 4, 8, 8);
  Tensor<float, 4> out(in.out_shape());
  CHECK(contains(message_of([&] { prefill(FlowAttention{}, state, in.q, in.k, in.v, out); }),
                 "the state is"));
}
