#include "attention/softmax/streaming.hpp"
#include "support/allocations.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"

using namespace weft;
using cases::AttentionInputs;
using cases::AttentionShape;
using cases::check_stream;
using cases::stream;

TEST_CASE("stream: forward, prefill in any split and step agree", "[softmax]") {
  cases::for_each_softmax_case([](const auto& row) {
    check_stream<float>(row, {.B = 2, .Hk = 2, .N = 61, .M = 61, .D = 24, .E = 20});
    check_stream<float>(row, {.B = 1, .Hk = 1, .N = 300, .M = 300, .D = 16, .E = 16});
  });
}

TEST_CASE("stream: a cache of 16 bits keeps what 16 bits can hold", "[softmax]") {
  const AttentionShape shape{.B = 1, .Hq = 4, .Hk = 2, .N = 50, .M = 50, .D = 24, .E = 20};
  const Softmax mixer{cases::kCausal};
  // Inputs of 16 bits in float: nothing is lost on the way into the cache.
  const AttentionInputs<bf16> exact(shape);
  AttentionInputs<float> in(shape);
  const auto widen = [](const Tensor<bf16, 4>& from, Tensor<float, 4>& to) {
    for (Index i = 0; i < from.size(); ++i) to.data()[i] = from.data()[i];
  };
  widen(exact.q, in.q);
  widen(exact.k, in.k);
  widen(exact.v, in.v);
  const std::vector<Index> chunks{13, 0, 0, 30, 5};
  const auto in_float = stream<float, float>(mixer, in, chunks);
  // Only the order in which the D products of a logit are added depends on the type of storage.
  const double reordered = static_cast<double>(shape.D) * std::numeric_limits<float>::epsilon();
  CHECK(cases::error_of(stream<float, bf16>(mixer, in, chunks), in_float) < reordered);
  CHECK(cases::error_of(stream<bf16, bf16>(mixer, exact, chunks), in_float) < 0x1p-8);
}

TEST_CASE("stream: rolling back and replaying", "[softmax]") {
  const AttentionShape shape{.B = 1, .Hq = 2, .Hk = 1, .N = 40, .M = 40, .D = 16, .E = 16};
  const AttentionInputs<float> in(shape);
  const Softmax mixer{cases::kCausal};
  auto state = make_state(mixer, {1, 1, 40, 16, 0});
  Tensor<float, 4> out({1, 2, 40, 16}), again({1, 2, 15, 16});
  prefill(mixer, state, in.q, in.k, in.v, out);
  state.truncate(25);
  const auto tail = [](const auto& x) { return x.view().slice(2, 25, 15); };
  prefill(mixer, state, tail(in.q), tail(in.k), tail(in.v), again);
  CHECK(cases::error_of(doubles_of(again.view()), doubles_of(tail(out))) < 1e-6);
}

TEST_CASE("stream: a refused call leaves the cache as it was", "[softmax]") {
  const Softmax mixer{cases::kCausal};
  auto state = make_state(mixer, {1, 2, 10, 8, 6});
  const auto tokens = [](Index heads, Index n, Index d) {
    return Tensor<float, 4>({1, heads, n, d});
  };
  auto out = tokens(4, 3, 6);
  prefill(mixer, state, tokens(4, 3, 8), tokens(2, 3, 8), tokens(2, 3, 6), out);
  const auto refusal = [&](const Tensor<float, 4>& q, const Tensor<float, 4>& k,
                           const Tensor<float, 4>& v, Tensor<float, 4>&& o) {
    const std::string text = message_of([&] { prefill(mixer, state, q, k, v, o); });
    CHECK(state.length() == 3);
    return text;
  };
  CHECK(contains(refusal(tokens(4, 8, 8), tokens(2, 8, 8), tokens(2, 8, 6), tokens(4, 8, 6)),
                 "the cache holds 3 of 10 tokens; there is no room for 8 more"));
  CHECK(contains(refusal(tokens(4, 2, 8), tokens(2, 3, 8), tokens(2, 3, 6), tokens(4, 2, 6)),
                 "q brings 2 tokens, k 3"));
  CHECK(contains(refusal(tokens(4, 2, 8), tokens(2, 2, 8), tokens(2, 1, 6), tokens(4, 2, 6)),
                 "k brings 2 tokens, v 1"));
  CHECK(contains(refusal(tokens(4, 2, 8), tokens(1, 2, 8), tokens(1, 2, 6), tokens(4, 2, 6)), "k"));
  CHECK(contains(refusal(tokens(3, 2, 8), tokens(2, 2, 8), tokens(2, 2, 6), tokens(3, 2, 6)),
                 "q has 3 heads, k has 2"));
  CHECK(contains(refusal(tokens(4, 2, 8), tokens(2, 2, 8), tokens(2, 2, 6), tokens(4, 2, 7)),
                 "out has head size 7"));
  CHECK(contains(message_of([&] {
                   make_state(Softmax{Causal{Align::top_left}}, {1, 1, 1, 1, 1});
                 }),
                 "bottom right"));
  CHECK(contains(message_of([&] {
                   make_state(Softmax{Window{3, 1}}, {1, 1, 1, 1, 1});
                 }),
                 "bottom right"));
}

TEST_CASE("softmax: no verb allocates once its context has seen the shape", "[softmax]") {
  const AttentionShape shape{.B = 1, .Hq = 4, .Hk = 2, .N = 64, .M = 64, .D = 24, .E = 20};
  const AttentionInputs<float> in(shape);
  const Softmax mixer{And{cases::kCausal, Window{50, 0}}, SoftCap{5}};
  const Context context;
  Tensor<float, 4> out({1, 4, 64, 20});
  Tensor<float, 3> lse({1, 4, 64});
  auto state = make_state(mixer, {1, 2, 66, 24, 20});
  const auto all_verbs = [&] {
    forward(mixer, in.q, in.k, in.v, out, context);
    forward_with_lse(mixer, in.q, in.k, in.v, out, lse, context);
    state.truncate(0);
    prefill(mixer, state, in.q, in.k, in.v, out, context);
    step(mixer, state, in.q.view().select(2, 0), in.k.view().select(2, 0), in.v.view().select(2, 0),
         out.view().select(2, 0), context);
  };
  all_verbs();
  all_verbs();
  const long before = allocations();
  all_verbs();
  CHECK(allocations() == before);
}
