#include "attention/linear/images.hpp"
#include <weft/attention/linear/inline_attention.hpp>

using namespace weft;
using namespace images;

TEST_CASE("inline attention: injective, and its local residual",
          "[linear][linear/inline_attention]") {
  const Images in;
  const auto heads = [](auto view) { return heads_of_tokens(view, kHeads); };
  const Poisoned<double, 3> out(in.q.shape());
  const auto run = [&](const Tensor<double, 3>& k, const Tensor<double, 3>& v) {
    forward(InLine{Identity{}}, heads(in.q.view()), heads(k.view()), heads(v.view()),
            heads(out.view()));
    return doubles_of(out.view());
  };
  const auto got = run(in.k, in.v);
  std::vector<double> wanted;
  for (Index b = 0; b < 2; ++b) {
    const auto part = flat(reference::by_heads(kHeads, tokens_of(in.q, b), tokens_of(in.k, b),
                                               tokens_of(in.v, b), reference::injective));
    wanted.insert(wanted.end(), part.begin(), part.end());
  }
  CHECK(largest_error(got, wanted) <= kTolerance);
  CHECK(out.guards_intact());

  Tensor<double, 3> moved = in.k.clone(), ones({2, kTokens, kChannels});
  for (Index i = 0; i < moved.size(); ++i) moved.data()[i] += 0.25 * double(i % kChannels);
  for (double& x : ones.span()) x = 1;
  CHECK(largest_error(run(moved, in.v), got) <= kTolerance);
  CHECK(largest_error(run(in.k, ones), doubles_of(ones.view())) <= kTolerance);

  constexpr Index d = kChannels / kHeads;
  const auto w1 = even_values<double, 2>({kChannels, d}, 7);
  const auto w2 = even_values<double, 2>({9 * kChannels, d}, 8);
  const auto b1 = even_values<double, 1>({kChannels}, 9);
  const auto b2 = even_values<double, 1>({9 * kChannels}, 10);
  const InLineResidual<double> residual{kHeads, w1, b1, w2, b2};
  Tensor<double, 3> sum({2, kTokens, kChannels});
  residual.add(in.q, map_of_tokens(in.v.view(), kRows), map_of_tokens(sum.view(), kRows));
  for (Index b = 0; b < 2; ++b) {
    const auto unit = [&](const auto& w, const auto& bias, const auto& x, Index row, Index head) {
      double y = bias(row);
      for (Index c = 0; c < d; ++c) y += w(row, c) * x[static_cast<std::size_t>(head * d + c)];
      return y;
    };
    reference::Vector mean(kChannels, 0.0), hidden, taps;
    for (const auto& row : tokens_of(in.q, b))
      for (std::size_t c = 0; c < row.size(); ++c) mean[c] += row[c] / double(kTokens);
    for (Index c = 0; c < kChannels; ++c) {
      const double y = unit(w1, b1, mean, c, c / d);
      hidden.push_back(y * std::erfc(-y / std::sqrt(2.0)) / 2);
    }
    for (Index r = 0; r < 9 * kChannels; ++r) taps.push_back(unit(w2, b2, hidden, r, r / (9 * d)));
    const auto truth = reference::depthwise(
        tokens_of(in.v, b), kColumns, 3,
        [&](std::size_t c, std::size_t i, std::size_t j) { return taps[c * 9 + i * 3 + j]; });
    CHECK(largest_error(doubles_of(sum.view().select(0, b)), flat(truth)) <= kTolerance);
  }
}

TEST_CASE("inline attention: what does not fit is refused", "[linear]") {
  const Images in;
  Tensor<double, 3> out(in.q.shape());
  const Tensor<double, 2> w({kChannels, 6});
  const Tensor<double, 1> b({kChannels});
  const InLineResidual<double> residual{kHeads, w, b, w, b};
  CHECK(contains(message_of([&] {
                   residual.add(in.q, map_of_tokens(in.v.view(), kRows),
                                map_of_tokens(out.view(), kRows));
                 }),
                 "and a bias for each row"));
}
