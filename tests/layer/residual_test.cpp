#include "reference/feed_forward.hpp"
#include "reference/norm.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/plain_operator.hpp"
#include "support/values.hpp"
#include <weft/layer/residual.hpp>

using namespace weft;

namespace {

constexpr double kTolerance = 40 * 6e-8;  // products of depth 20 and a norm

template <class F>
std::vector<double> by_rows(const Tensor<float, 2>& x, F f) {
  std::vector<double> out;
  for (Index n = 0; n < x.extent(0); ++n) {
    const auto row = f(doubles_of(x.view().select(0, n)));
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

std::vector<double> sum(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

}  // namespace

TEMPLATE_TEST_CASE("add_residual adds in any storage type", "[layer]", float, double, bf16, fp16) {
  const auto x = even_values<TestType, 3>({2, 3, 37}, 1),
             y = even_values<TestType, 3>({2, 3, 37}, 2);
  auto sum = x.clone();
  add_residual(sum, y);
  using T = Accumulator<TestType>;
  for (Index i = 0; i < x.size(); ++i) {
    const auto exact = static_cast<T>(x.data()[i]) + static_cast<T>(y.data()[i]);
    REQUIRE(static_cast<T>(sum.data()[i]) == static_cast<T>(TestType(exact)));
  }
}

TEST_CASE("add_gated_residual has one gate per batch and channel", "[layer]") {
  const auto x = even_values<double, 3>({2, 3, 7}, 1), y = even_values<double, 3>({2, 3, 7}, 2);
  const auto gate = even_values<double, 2>({2, 7}, 3);
  auto out = x.clone();
  add_gated_residual(out, gate.view(), y);
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 3; ++n)
      for (Index d = 0; d < 7; ++d) {
        REQUIRE(out(b, n, d) == Approx(x(b, n, d) + gate(b, d) * y(b, n, d)).epsilon(1e-14));
      }
}

TEST_CASE("residual blocks agree with their equations", "[layer]") {
  const auto w = even_values<float, 2>({20, 20}, 1);
  const auto weight = even_values<float, 1>({20}, 2);
  const auto x = even_values<float, 2>({9, 20}, 3);
  const RmsNorm<float> norm{weight};
  const auto rms = [&](const auto& row) {
    return reference::rms_norm(row, 1e-5, doubles_of(weight.view()));
  };
  const auto multiply = [&](const auto& row) {
    return reference::linear(doubles_of(w.view()), {}, row);
  };
  const auto pre = by_rows(x, [&](const auto& row) { return sum(row, multiply(rms(row))); });
  const auto post = by_rows(x, [&](const auto& row) { return rms(sum(row, multiply(row))); });

  const auto require_blocks = [&](const auto& op) {
    auto a = x.clone(), b = x.clone();
    pre_norm_block(norm, op, a.view());
    post_norm_block(norm, op, b.view());
    REQUIRE(largest_error(doubles_of(a.view()), pre) < kTolerance);
    REQUIRE(largest_error(doubles_of(b.view()), post) < kTolerance);
  };
  require_blocks(DenseOperator<float>(w));
  require_blocks(PlainOperator(w.clone()));
}

TEST_CASE("residual blocks allocate in their first call only", "[layer]") {
  const DenseOperator<float> op(even_values<float, 2>({20, 20}, 1));
  auto x = even_values<float, 2>({9, 20}, 3);
  const Context ctx;
  pre_norm_block(RmsNorm<float>{}, op, x.view(), ctx);
  const Index held = ctx.scratch_bytes();
  pre_norm_block(RmsNorm<float>{}, op, x.view(), ctx);
  REQUIRE(ctx.scratch_bytes() == held);
}

TEST_CASE("residuals refuse shapes that do not fit", "[layer][errors]") {
  Tensor<float, 3> x({2, 3, 4}), y({2, 3, 5});
  Tensor<float, 2> gate({3, 4});
  REQUIRE(contains(message_of([&] { add_residual(x, y); }), "y is [2, 3, 5], x is [2, 3, 4]"));
  REQUIRE(contains(message_of([&] { add_gated_residual(x, gate.view(), x); }),
                   "gate is [3, 4], x [2, 3, 4]"));
}
