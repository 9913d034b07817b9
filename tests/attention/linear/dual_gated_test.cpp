#include "attention/linear/dense.hpp"
#include <weft/attention/linear/dual_gated.hpp>

using namespace weft;
using images::flat;
using images::tokens_of;
using linear_cases::Layer;

TEST_CASE("dual-gated attention: turned weights, plain denominators",
          "[linear][linear/herseg_dla]") {
  constexpr Index B = 2, rows = 3, columns = 4, C = 16, heads = 2, hidden = 5;
  const Layer qk(2 * C, C, 1), up(hidden, C, 3), down(C, hidden, 5);
  const auto taps = even_values<double, 3>({C, 3, 3}, 7);
  const DepthwiseConv<double> conv(taps.view());
  const auto rope = fit_rope<double>(C, std::max(rows, columns));
  const DualGatedAttention<DenseOperator<double>, double> mixer{heads,     qk.op(), up.op(),
                                                                down.op(), &rope,   &conv};
  const auto x = even_values<double, 3>({B, rows * columns, C}, 8);
  const Poisoned<double, 3> out(x.shape());
  forward(mixer, map_of_tokens(x.view(), rows), map_of_tokens(out.view(), rows));
  CHECK(out.guards_intact());
  for (Index b = 0; b < B; ++b) {
    reference::Matrix q, k, v;
    for (const auto& row : tokens_of(x, b)) {
      auto both = qk.dense()(row);
      for (double& f : both) f = f > 0 ? f + 1 : std::exp(f);
      q.emplace_back(both.begin(), both.begin() + C);
      k.emplace_back(both.begin() + C, both.end());
      v.push_back(down.dense()(reference::silu(up.dense()(row))));
    }
    const auto truth = reference::plus(
        reference::dual_gated(q, k, v, columns, heads),
        reference::depthwise(v, columns, 3, [&](std::size_t c, std::size_t i, std::size_t j) {
          return taps(static_cast<Index>(c), static_cast<Index>(i), static_cast<Index>(j));
        }));
    CHECK(largest_error(doubles_of(out.view().select(0, b)), flat(truth)) <= 1e-13);
  }

  Tensor<double, 3> gated = x.clone();
  gate_with_silu(gated, x);
  for (Index i = 0; i < x.size(); ++i) {
    const double v = x.data()[i];
    CHECK(gated.data()[i] == Approx(v * v * reference::logistic(v)).margin(1e-15));
  }
  const auto narrow = fit_rope<double>(8, 4);
  const DualGatedAttention<DenseOperator<double>, double> wrong{heads,     qk.op(), up.op(),
                                                                down.op(), &narrow, &conv};
  Tensor<double, 3> y(x.shape());
  CHECK(contains(message_of([&] {
                   forward(wrong, map_of_tokens(x.view(), rows), map_of_tokens(y.view(), rows));
                 }),
                 "rope turns 8 channels of 16"));
}
