/// linear/... and delta/...: the recurrences, whole sequences and single tokens. Operations are
/// those of the recurrence itself, 4 D E per token and head, 6 D E with the delta rule: what the
/// triangles of the chunks add is not counted. Beside softmax/causal of the sizes in the names.
#include "support/inputs.hpp"
#include "support/lengths.hpp"
#include "support/row.hpp"
#include <weft/attention/delta.hpp>
#include <weft/attention/linear.hpp>
#include <weft/layer/causal_conv1d.hpp>

#include <string>

namespace {

using bench::Index;
using bench::uniform;
using weft::Context;

struct Size {
  Index heads, tokens, dim;
};

/// What gates of trained models look like: a state that forgets within some hundred tokens.
constexpr double kLeastLog = -0.02;

/// Numbers of [-1, 1) spread over [low, high).
template <std::size_t Rank>
weft::Tensor<float, Rank> spread(weft::Tensor<float, Rank> x, double low, double high) {
  for (float& value : x.span())
    value = static_cast<float>(low + (high - low) * (double{value} + 1) / 2);
  return x;
}

weft::Tensor<float, 4> sequence(const Size& s, std::uint64_t seed) {
  return uniform<float>({1, s.heads, s.tokens, s.dim}, seed);
}
weft::Tensor<float, 3> token(const Size& s, std::uint64_t seed) {
  return uniform<float>({1, s.heads, s.dim}, seed);
}

/// The data of all policies of a call; a mixer is made of views of them.
struct Gates {
  weft::Tensor<float, 3> token, beta;
  weft::Tensor<float, 4> channel;
  weft::Tensor<float, 1> head;

  explicit Gates(const Size& s)
      : token(spread(uniform<float>({1, s.heads, s.tokens}, 5), kLeastLog, 0)),
        beta(spread(uniform<float>({1, s.heads, s.tokens}, 6), 0, 1)),
        channel(spread(sequence(s, 7), kLeastLog, 0)),
        head(weft::retention_log_decay(s.heads)) {}
};

bench::Row row_of(const std::string& variant, const Size& s, double per_token) {
  const double work = per_token * static_cast<double>(s.heads * s.tokens * s.dim * s.dim);
  return {
      .name = bench::row_name(
          variant + "/forward/f32",
          {{"B", 1}, {"H", s.heads}, {"N", s.tokens}, {"D", s.dim}, {"E", s.dim}, {"threads", 1}}),
      .flops = work};
}

/// A whole sequence. `mixer(gates)` makes the mixer.
template <class F>
void add_forward(const std::string& variant, const Size& s, double per_token, F mixer) {
  const auto prepare = [=](const Size& of, const Context& context) {
    return
        [=, &context, g = Gates(of), q = sequence(of, 1), k = sequence(of, 2), v = sequence(of, 3),
         out = sequence(of, 4)]() mutable { weft::forward(mixer(g), q, k, v, out, context); };
  };
  row_of(variant, s, per_token).add([=](const Context& context) { return prepare(s, context); });
  if (s.tokens != 1024) return;
  const auto of_length = [=](Index heads) {
    return [=](Index length, const Context& context) {
      return bench::shared_call(prepare({heads, length, s.dim}, context));
    };
  };
  bench::add_crossover(variant, {s.heads, s.dim, s.dim, true}, of_length(s.heads));
  const Index few = s.heads / 4;  // of the longest sequences, for the sake of memory
  bench::add_per_token(variant, {few, s.dim, s.dim, true}, of_length(few));
}

/// A memory of 64 x 64 that learns from 4 pairs per token, by Newton-Schulz steps.
void add_atlas() {
  const Size s{4, 64, 64};
  constexpr Index window = 4;
  constexpr int steps = 5;
  constexpr double d = 64, per_token = 4 * d * d * (window + 0.5) + steps * 6 * d * d * d;
  row_of("delta/atlas", s, per_token / (d * d)).add([=](const Context& context) {
    Gates g(s);
    weft::Atlas<> mixer{weft::LinearMemory{}, g.beta, g.beta, g.beta};
    mixer.window = window;
    mixer.steps = steps;
    auto state = make_state(mixer, 1, s.heads, s.dim, s.dim);
    return [=, &context, g = std::move(g), state = std::move(state), q = sequence(s, 1),
            k = sequence(s, 2), v = sequence(s, 3),
            out = sequence(s, 4)]() mutable { weft::prefill(mixer, state, q, k, v, out, context); };
  });
}

/// Two of eight memories for every token, keys and values of all memories being the same.
void add_mixture() {
  constexpr Index kMemories = 8, kChosen = 2, N = 4096, D = 64;
  bench::Row{.name = bench::row_name("delta/mom/prefill/f32",
                                     {{"M", kMemories}, {"k", kChosen}, {"N", N}, {"D", D}}),
             .flops = 6.0 * kChosen * N * D * D}
      .add([](const Context& context) {
        const weft::MemoryRoute route(uniform<float>({1, N, kMemories}, 1), kChosen);
        const Index n = route.entries();
        auto beta = spread(uniform<float>({1, 1, n}, 5), 0, 1);
        auto state = make_state(weft::delta_net(beta), {kMemories, 1, D, D});
        return [&context, route, beta = std::move(beta), state = std::move(state),
                x = uniform<float>({1, N, D}, 2), xs = uniform<float>({n, 1, D}, 3),
                o = uniform<float>({n, 1, D}, 4), out = uniform<float>({1, N, D}, 5)]() mutable {
          const auto rows = [&](auto& heads) { return heads.view().select(1, 0); };
          route.gather(x, rows(xs));
          weft::prefill_ragged(weft::delta_net(beta), state, xs, xs, xs, route.sequences(), o,
                               context);
          route.combine(weft::View<const float, 2>(rows(o)), out);
        };
      });
}

/// One token of every head; the floor is to read and to write the state.
template <class F>
void add_step(const std::string& variant, const Size& s, double per_token, F mixer) {
  const auto state_size = static_cast<double>(s.heads * s.dim * s.dim);
  bench::Row{.name = bench::row_name(variant + "/step/f32", {{"H", s.heads}, {"D", s.dim}}),
             .flops = per_token * state_size,
             .bytes = 8 * state_size,
             .floor = bench::Floor::read}
      .add([=](const Context& context) {
        Gates g(s);
        auto state = make_state(mixer(g), {1, s.heads, s.dim, s.dim});
        return [=, &context, g = std::move(g), state = std::move(state), q = token(s, 1),
                k = token(s, 2), v = token(s, 3), out = token(s, 4)]() mutable {
          weft::step(mixer(g), state, q, k, v, out, context);
        };
      });
}

const bench::Rows rows([] {
  const auto simple = [](const Gates& g) { return weft::simple_gated_linear(g.token); };
  const auto gla = [](const Gates& g) { return weft::gated_linear(g.channel); };
  const auto retention = [](const Gates& g) { return weft::retention(g.head); };
  const auto delta = [](const Gates& g) { return weft::delta_net(g.beta); };
  const auto gated = [](const Gates& g) { return weft::gated_delta_net(g.token, g.beta); };
  const auto channel = [](const Gates& g) {
    return weft::channel_gated_delta_net(g.channel, g.beta);
  };
  for (const Index tokens : {1024, 16384}) {
    const Size narrow{16, tokens, 64}, wide{8, tokens, 128};
    add_forward("linear/simple_gla", narrow, 4, simple);
    add_forward("linear/gla", narrow, 4, gla);
    add_forward("linear/retention", narrow, 4, retention);
    add_forward("delta/delta_net", wide, 6, delta);
    add_forward("delta/gated_delta_net", wide, 6, gated);
    add_forward("delta/channel_gated_delta_net", wide, 6, channel);
  }
  add_atlas();
  add_mixture();
  const Size one{16, 1, 128};
  add_step("linear/simple_gla", one, 4, simple);
  add_step("delta/gated_delta_net", one, 6, gated);

  constexpr Index kTokens = 4096, kChannels = 1024;
  bench::Row{.name = bench::row_name("layer/causal_conv1d/forward/f32",
                                     {{"N", kTokens}, {"C", kChannels}, {"W", 4}}),
             .bytes = 8.0 * kTokens * kChannels,
             .floor = bench::Floor::read}
      .add([](const Context& context) {
        return [&context, conv = weft::CausalConv1d<float>(uniform<float>({kChannels, 4}, 1)),
                x = uniform<float>({1, kTokens, kChannels}, 2),
                y = uniform<float>({1, kTokens, kChannels}, 3)]() mutable {
          conv.apply(x, y, weft::Silu{}, context);
        };
      });
});

}  // namespace
