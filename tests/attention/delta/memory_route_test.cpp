#include "attention/linear/heads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/delta.hpp>
#include <weft/attention/delta/memory_route.hpp>

using namespace weft;
using namespace linear_cases;

namespace {

/// A mixture of memories that share keys, values and gates, so that the tokens of a memory are all
/// that tells it from the others; and the same token by token in plain words.
struct Mixture {
  Index B, N, D = 3, M, k;
  Tensor<double, 3> logits, x, beta;

  Mixture(Index batch, Index tokens, Index memories, Index top_k)
      : B(batch),
        N(tokens),
        M(memories),
        k(top_k),
        logits(even_values<double, 3>({B, N, M}, 1, -2, 2)),
        x(even_values<double, 3>({B, N, D}, 2)),
        beta(even_values<double, 3>({B, N, 1}, 3, 0, 1)) {}

  std::vector<double> run() const {
    const MemoryRoute route(logits, k);
    const Index entries = route.entries();
    Tensor<double, 2> xs({entries, D}), betas({entries, 1}), o({entries, D});
    route.gather(x, xs);
    route.gather(beta, betas);
    const auto mixer = delta_net(View<const double, 3>(betas.data(), {1, 1, entries}), Identity{});
    auto state = make_state<double>(mixer, {M * B, 1, D, D});
    const auto head = [&](auto& rows) {
      return decltype(unsqueeze(rows.view()))(rows.data(), {entries, 1, D});
    };
    prefill_ragged(mixer, state, head(xs), head(xs), head(xs), route.sequences(), head(o));
    Tensor<double, 3> out({B, N, D});
    route.combine(o, out);
    return doubles_of(out.view());
  }

  /// out of token t of batch element b.
  std::vector<double> expected() const {
    std::vector<double> all;
    for (Index b = 0; b < B; ++b) {
      std::vector<Rows> kept(static_cast<std::size_t>(M));  // tokens of each memory so far
      std::vector<std::vector<double>> betas(static_cast<std::size_t>(M));
      for (Index t = 0; t < N; ++t) {
        std::vector<double> out(static_cast<std::size_t>(D), 0.0);
        double sum = 0;
        std::vector<Index> chosen;
        for (Index m = 0; m < M; ++m) {
          Index better = 0;
          for (Index other = 0; other < M; ++other) better += logits(b, t, other) > logits(b, t, m);
          if (better < k) chosen.push_back(m);
        }
        for (const Index m : chosen) sum += std::exp(logits(b, t, m));
        for (const Index m : chosen) {
          const auto at = static_cast<std::size_t>(m);
          kept[at].push_back(doubles_of(x.view().select(0, b).select(0, t)));
          betas[at].push_back(beta(b, t, 0));
          LinearOptions o;
          o.delta = true;
          o.weights = betas[at];
          o.scale = 1 / std::sqrt(double(D));
          const auto n = static_cast<std::size_t>(D);
          const auto rows = reference::recurrence(kept[at], kept[at], kept[at], n, n, o).out;
          for (std::size_t d = 0; d < n; ++d)
            out[d] += std::exp(logits(b, t, m)) / sum * rows.back()[d];
        }
        all.insert(all.end(), out.begin(), out.end());
      }
    }
    return all;
  }
};

}  // namespace

TEST_CASE("mixture of memories: agrees with its definition", "[delta][delta/mom]") {
  for (const auto& [B, N, M, k] :
       {std::array<Index, 4>{1, 20, 3, 2}, {2, 15, 4, 1}, {2, 9, 2, 2}, {1, 1, 1, 1}}) {
    const Mixture mixture(B, N, M, k);
    CHECK(largest_error(mixture.run(), mixture.expected()) <= 1e-13);
  }
}

TEST_CASE("memory route: ties go to the lower number, and every token has its weights", "[delta]") {
  Tensor<float, 3> logits({1, 2, 4});
  logits(0, 1, 2) = 1;
  const MemoryRoute route(logits, 2);
  CHECK(route.selected(0, 0, 0) == 0);
  CHECK(route.selected(0, 0, 1) == 1);
  CHECK(route.weight(0, 0, 0) == 0.5);
  CHECK(route.selected(0, 1, 0) == 2);
  CHECK(route.selected(0, 1, 1) == 0);
  CHECK(route.weight(0, 1, 0) == Approx(1 / (1 + std::exp(-1.0))));
  CHECK(route.entries() == 4);
  CHECK(route.tokens_of(0).count == 2);
  CHECK(route.tokens_of(3).count == 0);
}

TEST_CASE("memory route: NaN among the logits of a token reaches its weights alone", "[delta]") {
  Tensor<float, 3> logits({1, 2, 4});
  logits(0, 0, 3) = std::numeric_limits<float>::quiet_NaN();
  logits(0, 0, 2) = 5;
  logits(0, 1, 3) = 1;
  const MemoryRoute route(logits, 2);
  for (Index r = 0; r < 2; ++r) {
    CHECK(route.selected(0, 0, r) == r);
    CHECK(std::isnan(route.weight(0, 0, r)));
    CHECK(std::isfinite(route.weight(0, 1, r)));
  }
  CHECK(route.selected(0, 1, 0) == 3);
}

TEST_CASE("memory route: what does not fit is refused", "[delta]") {
  const Tensor<float, 3> logits({1, 2, 4}), x({1, 3, 5});
  CHECK(contains(message_of([&] { MemoryRoute(logits, 5); }), "top_k is 5 of 4"));
  CHECK(contains(message_of([&] { MemoryRoute(logits, 0); }), "top_k is 0"));
  const MemoryRoute route(logits, 1);
  Tensor<float, 2> to({2, 5});
  CHECK(contains(message_of([&] { route.gather(x, to); }), "do not fit"));
}
