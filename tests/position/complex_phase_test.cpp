#include "reference/complex_phase.hpp"

#include "reference/softmax.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/position/complex_phase.hpp>

// softmax/cmha

using namespace weft;

namespace {

template <class T>
struct Setup {
  Setup(Index B, Index H, Index N, Index M, Index D)
      : q(even_values<T, 4>({B, H, N, D}, 1)),
        k(even_values<T, 4>({B, H, M, D}, 2)),
        v(even_values<T, 4>({B, H, M, 5}, 3)),
        delta(even_values<T, 2>({H, D / 2}, 4, 0.2, 1.7)),
        b(even_values<T, 2>({H, D / 2}, 5, -2, 2)),
        table(rope_frequencies(D), RopeLayout::half, std::max(N, M)) {}

  Index first() const { return k.extent(2) - q.extent(2); }
  Softmax<Window> mixer() const { return {{-1, 0}, {}, {}, 1.0}; }

  std::vector<double> run(const Context& ctx = Context()) const {
    Tensor<T, 4> turned_q(q.shape()), turned_k(k.shape());
    Tensor<T, 4> out({q.extent(0), q.extent(1), q.extent(2), 5});
    apply_complex_phase(table, delta, b, q, turned_q, first(), ctx);
    apply_complex_phase(table, delta, {}, k, turned_k, 0, ctx);
    forward(mixer(), turned_q, turned_k, v, out, ctx);
    return doubles_of(out.view());
  }

  /// The scores of the formula as the bias of an attention without dot products.
  std::vector<double> expected() const {
    const auto size = [](Index n) { return static_cast<std::size_t>(n); };
    const std::size_t B = size(q.extent(0)), H = size(q.extent(1)), N = size(q.extent(2));
    const std::size_t M = size(k.extent(2)), D = size(q.extent(3));
    reference::Values scores;
    for (Index bh = 0; bh < q.extent(0) * q.extent(1); ++bh) {
      const Index batch = bh / q.extent(1), h = bh % q.extent(1);
      const auto head = [&](const Tensor<T, 4>& x) {
        return doubles_of(x.view().select(0, batch).select(0, h));
      };
      const auto of_head = reference::complex_scores(
          head(q), head(k), doubles_of(delta.view().select(0, h)),
          doubles_of(b.view().select(0, h)), static_cast<double>(first()));
      scores.insert(scores.end(), of_head.begin(), of_head.end());
    }
    reference::AttentionOptions options;
    options.scale = 0.0;
    options.causal = reference::CausalMode::bottom_right;
    options.bias = {scores, B, H, N, M};
    return reference::attention({B, H, H, N, M, D, 5}, doubles_of(q.view()), doubles_of(k.view()),
                                doubles_of(v.view()), options)
        .out;
  }

  Tensor<T, 4> q, k, v;
  Tensor<T, 2> delta, b;
  RopeTable<T> table;
};

}  // namespace

TEST_CASE("complex phases: attention agrees with the formula", "[position]") {
  for (const Index D : {2, 6, 34, 64}) {
    const Setup<double> exact(2, 3, 7, 19, D);
    CHECK(largest_error(exact.run(), exact.expected()) < 1e-12);
    const Setup<float> rounded(1, 2, 33, 33, D);
    CHECK(largest_error(rounded.run(), rounded.expected()) < 2e-5);
  }
}

TEST_CASE("complex phases: delta 1 and b 0 are RoPE but for the epsilon", "[position]") {
  Setup<double> s(1, 2, 9, 9, 16);
  std::fill_n(s.delta.data(), s.delta.size(), 1.0);
  Tensor<double, 4> turned(s.q.shape()), rotated(s.q.shape());
  apply_complex_phase(s.table, s.delta, {}, s.q, turned, 0);
  apply_rope(s.table, s.q, rotated, 0);
  CHECK(largest_error(doubles_of(turned.view()), doubles_of(rotated.view())) < 1e-6);
}

TEST_CASE("complex phases: chunks with their positions are the whole; threads; empty; in place",
          "[position]") {
  const Setup<float> s(2, 3, 40, 40, 8);
  CHECK(same_for_any_threads([&](const Context& ctx) { return s.run(ctx); }));
  auto state = make_state(s.mixer(), {2, 3, 40, 8, 5});
  Tensor<float, 4> out({2, 3, 40, 5});
  for (Index at = 0; at < 40; at += 8) {
    auto q = even_values<float, 4>({2, 3, 8, 8}, 0), k = q.clone();
    const auto part = [&](const auto& x) { return x.view().slice(2, at, 8); };
    apply_complex_phase(s.table, s.delta, s.b, part(s.q), q, at);
    apply_complex_phase(s.table, s.delta, {}, part(s.k), k, at);
    prefill(s.mixer(), state, q, k, part(s.v), out.view().slice(2, at, 8));
  }
  CHECK(largest_error(doubles_of(out.view()), s.run()) < 1e-5);

  Tensor<float, 4> in_place = s.q.clone(), apart(s.q.shape());
  apply_complex_phase(s.table, s.delta, s.b, s.q, apart, 0);
  apply_complex_phase(s.table, s.delta, s.b, in_place, in_place, 0);
  CHECK((doubles_of(in_place.view()) == doubles_of(apart.view())));
  Tensor<float, 4> none({2, 3, 0, 8});
  apply_complex_phase(s.table, s.delta, s.b, none, none, 0);
}

TEST_CASE("complex phases refuse what does not fit", "[position][errors]") {
  Setup<float> s(1, 2, 4, 4, 8);
  Tensor<float, 4> out(s.q.shape());
  const auto refusal = [&](const RopeTable<float>& table, View<const float, 2> delta, Index first) {
    return message_of([&] { apply_complex_phase(table, delta, {}, s.q, out, first); });
  };
  CHECK(contains(refusal(s.table, s.delta.view().slice(0, 0, 1), 0), "delta is [1, 4]"));
  CHECK(contains(refusal(s.table, s.delta, 1), "positions [1, 5)"));
  const RopeTable<float> fewer(rope_frequencies(6), RopeLayout::half, 4);
  const RopeTable<float> pairs(rope_frequencies(8), RopeLayout::interleaved, 4);
  CHECK(contains(refusal(fewer, s.delta, 0), "turns 6 channels, x has 8"));
  CHECK(contains(refusal(pairs, s.delta, 0), "layout `half`"));
}
