#include "attention/linear/heads.hpp"
#include "reference/norm.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/linear/norm_attention.hpp>

using namespace weft;
using namespace linear_cases;

namespace {

constexpr Index B = 2, H = 3, N = 55, D = 8, E = 6;

/// Rows of all heads of a token over their root mean square.
std::vector<double> normalised(const std::vector<double>& heads) {
  std::vector<double> out(heads.size());
  for (Index b = 0; b < B; ++b)
    for (Index i = 0; i < N; ++i) {
      const auto at = [&](Index h, Index e) {
        return static_cast<std::size_t>(((b * H + h) * N + i) * E + e);
      };
      reference::Row row;
      for (Index h = 0; h < H; ++h)
        for (Index e = 0; e < E; ++e) row.push_back(heads[at(h, e)]);
      row = reference::simple_rms_norm(row, 1e-8);
      for (Index h = 0; h < H; ++h)
        for (Index e = 0; e < E; ++e) out[at(h, e)] = row[static_cast<std::size_t>(h * E + e)];
    }
  return out;
}

Rows elu_plus_one(Rows x, bool, Index, Index) {
  for (auto& row : x)
    for (double& v : row) v = v > 0 ? v + 1 : std::exp(v);
  return x;
}

}  // namespace

TEST_CASE("norm attention: all verbs norm over the heads of a token",
          "[linear][linear/transnormer]") {
  const Inputs<float> in(B, H, N, D, E);
  const auto truth =
      normalised(expected(in, true, elu_plus_one, [](Index, Index) { return LinearOptions{}; }));
  const NormAttention mixer{LinearAttention{EluPlusOne{}}, SimpleRmsNorm<float>{}};
  const auto check = [&](auto&& run) {
    Tensor<float, 3> out({B, N, H * E});
    run(heads_of_tokens(out.view(), H));
    CHECK(largest_error(doubles_of(heads_of_tokens(out.view(), H)), truth) <= tolerance<float>(64));
  };
  check([&](const auto& out) { forward(mixer, in.q, in.k, in.v, out); });
  const auto part = [&](auto view, Index at, Index n) { return view.slice(2, at, n); };
  check([&](const auto& out) {
    auto state = make_state(mixer, {B, H, D, E});
    for (const auto& [at, n] : {std::pair<Index, Index>{0, 20}, {20, 35}})
      prefill(mixer, state, part(in.q.view(), at, n), part(in.k.view(), at, n),
              part(in.v.view(), at, n), part(out, at, n));
  });
  check([&](const auto& out) {
    auto state = make_state(mixer, {B, H, D, E});
    for (Index t = 0; t < N; ++t)
      step(mixer, state, in.q.view().select(2, t), in.k.view().select(2, t),
           in.v.view().select(2, t), out.select(2, t));
  });
}

TEST_CASE("norm attention: the size of values does not matter, and zeros stay zeros", "[linear]") {
  Inputs<float> in(B, H, N, D, E);
  const NormAttention mixer{LinearAttention{EluPlusOne{}}, SimpleRmsNorm<float>{}};
  Tensor<float, 3> out({B, N, H * E}), scaled({B, N, H * E});
  const auto heads = [](auto& x) { return heads_of_tokens(x.view(), H); };
  forward(mixer, in.q, in.k, in.v, heads(out));
  for (float& x : in.v.span()) x *= 1024;
  forward(mixer, in.q, in.k, in.v, heads(scaled));
  CHECK(largest_error(doubles_of(scaled.view()), doubles_of(out.view())) <= tolerance<float>(64));
  for (float& x : in.v.span()) x = 0;
  forward(mixer, in.q, in.k, in.v, heads(out));
  for (const float x : out.span()) CHECK(x == 0.f);
}

TEST_CASE("norm attention: heads must lie side by side", "[linear]") {
  const Inputs<float> in(B, H, N, D, E);
  Tensor<float, 4> apart({B, H, N, E});
  const NormAttention mixer{LinearAttention{EluPlusOne{}}, SimpleRmsNorm<float>{}};
  CHECK(contains(message_of([&] { forward(mixer, in.q, in.k, in.v, apart); }), "side by side"));
}
