#include "reference/distance.hpp"
#include "reference/softmax.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/transformer_xl.hpp>
#include <weft/cache/kv_cache.hpp>

// softmax/transformer_xl

using namespace weft;

namespace {

template <class T>
struct Setup {
  Setup(Index B, Index H, Index Hk, Index N, Index M, Index D, Index L)
      : q(even_values<T, 4>({B, H, N, D}, 1)),
        k(even_values<T, 4>({B, Hk, M, D}, 2)),
        v(even_values<T, 4>({B, Hk, M, 5}, 3)),
        r(even_values<T, 3>({H, L, D}, 4)),
        u(even_values<T, 2>({H, D}, 5)),
        bias(even_values<T, 2>({H, D}, 6)) {}

  TransformerXl<T> mixer() const { return {r.view(), u.view(), bias.view()}; }

  std::vector<double> run(const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({q.extent(0), q.extent(1), q.extent(2), 5});
    forward(mixer(), q, k, v, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  std::vector<double> expected() const {
    const auto size = [](Index n) { return static_cast<std::size_t>(n); };
    const Index group = q.extent(1) / k.extent(1);
    reference::Values scores;
    for (Index b = 0; b < q.extent(0); ++b)
      for (Index h = 0; h < q.extent(1); ++h) {
        const auto one = reference::transformer_xl(
            doubles_of(q.view().select(0, b).select(0, h)),
            doubles_of(k.view().select(0, b).select(0, h / group)),
            doubles_of(u.view().select(0, h)), doubles_of(bias.view().select(0, h)),
            doubles_of(r.view().select(0, h)), 1 / std::sqrt(static_cast<double>(q.extent(3))));
        scores.insert(scores.end(), one.begin(), one.end());
      }
    const reference::AttentionSizes s{size(q.extent(0)),
                                      size(q.extent(1)),
                                      size(k.extent(1)),
                                      size(q.extent(2)),
                                      size(k.extent(2)),
                                      size(q.extent(3)),
                                      5};
    reference::AttentionOptions options;
    options.scale = 0.0;
    options.causal = reference::CausalMode::bottom_right;
    options.bias = {scores, s.B, s.Hq, s.N, s.M};
    return reference::attention(s, doubles_of(q.view()), doubles_of(k.view()), doubles_of(v.view()),
                                options)
        .out;
  }

  Tensor<T, 4> q, k, v;
  Tensor<T, 3> r;
  Tensor<T, 2> u, bias;
};

}  // namespace

TEST_CASE("Transformer-XL agrees with the reference", "[softmax]") {
  const Setup<double> exact[] = {{1, 1, 1, 1, 1, 1, 1},
                                 {2, 3, 3, 5, 9, 7, 9},
                                 {1, 4, 2, 33, 40, 16, 50},
                                 {1, 2, 1, 200, 300, 8, 300},
                                 {1, 1, 1, 390, 400, 2, 400}};  // two tasks, the second of 6 rows
  for (const auto& s : exact) CHECK(largest_error(s.run(), s.expected()) < 1e-13);
  const Setup<float> rounded(2, 2, 2, 70, 90, 24, 90);
  CHECK(largest_error(rounded.run(), rounded.expected()) < 1e-5);
}

TEST_CASE("Transformer-XL: no distances and no biases are causal attention", "[softmax]") {
  Setup<double> s(1, 2, 2, 20, 31, 8, 31);
  for (auto* x : {&s.u, &s.bias}) std::fill_n(x->data(), x->size(), 0.0);
  std::fill_n(s.r.data(), s.r.size(), 0.0);
  Tensor<double, 4> plain({1, 2, 20, 5});
  forward(Softmax{Causal{Align::bottom_right}}, s.q, s.k, s.v, plain);
  CHECK(largest_error(s.run(), doubles_of(plain.view())) < 1e-14);
}

TEST_CASE("Transformer-XL: chunks over a cache are the whole; threads; empty", "[softmax]") {
  const Setup<float> s(2, 4, 2, 230, 230, 8, 230);
  const auto whole = s.run();
  CHECK(same_for_any_threads([&](const Context& ctx) { return s.run(ctx); }));
  KvCache<float> cache({2, 2, 230, 8, 5});
  Tensor<float, 4> out({2, 4, 230, 5});
  Index at = 0;
  for (const Index n : {1, 100, 1, 128}) {
    const auto part = [&](const auto& x) { return x.view().slice(2, at, n); };
    cache.append(part(s.k), part(s.v));
    forward(s.mixer(), part(s.q), cache.keys(), cache.values(), out.view().slice(2, at, n));
    at += n;
  }
  CHECK(largest_error(doubles_of(out.view()), whole) < 1e-5);
  CHECK(Setup<float>(0, 2, 2, 3, 3, 4, 3).run().empty());
  CHECK(Setup<float>(1, 2, 2, 0, 3, 4, 3).run().empty());
}

TEST_CASE("Transformer-XL refuses what does not fit", "[softmax][errors]") {
  const auto refusal = [](Index N, Index M, Index L, Index heads) {
    const Setup<float> s(1, 2, 2, N, M, 4, L);
    const Tensor<float, 2> other({heads, 4});
    Tensor<float, 4> out({1, 2, N, 5});
    return message_of([&] {
      forward(TransformerXl<float>{s.r.view(), s.u.view(), other.view()}, s.q, s.k, s.v, out);
    });
  };
  CHECK(contains(refusal(5, 4, 5, 2), "5 queries are the last of 4 keys"));
  CHECK(contains(refusal(4, 6, 5, 2), "wanted [2, 6 or more, 4]"));
  CHECK(contains(refusal(4, 6, 6, 3), "a bias is"));
  CHECK(contains(message_of([] { transformer_xl_sinusoids(4, 3); }), "3 channels"));
}
