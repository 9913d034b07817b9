#include "reference/gptq.hpp"

#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/quant/gptq.hpp>

#include <limits>

using namespace weft;
using quant::GptqHessian;
using quant::GptqOptions;

namespace {

constexpr Index kTokens = 60;

/// Inputs whose channels hang together and differ in size; every seventh is never other than 0.
Tensor<float, 3> correlated(Index sequences, Index channels, bool dead = false) {
  auto x = even_values<float, 3>({sequences, kTokens, channels}, 1);
  for (Index b = 0; b < sequences; ++b)
    for (Index t = 0; t < kTokens; ++t)
      for (Index c = 0; c < channels; ++c) {
        if (c > 0) x(b, t, c) += 0.7f * x(b, t, c - 1);
        x(b, t, c) *= 1 + static_cast<float>(c % 5);
      }
  for (Index c = 3; c < channels && dead; c += 7)
    for (Index b = 0; b < sequences; ++b)
      for (Index t = 0; t < kTokens; ++t) x(b, t, c) = 0;
  return x;
}

GptqHessian hessian_of(const Tensor<float, 3>& x) {
  GptqHessian hessian(x.extent(2));
  hessian.add_batch(x);
  return hessian;
}

reference::GptqTruth truth(const Tensor<float, 2>& w, const Tensor<float, 3>& x,
                           const GptqOptions& o) {
  std::vector<reference::Rows> sequences;
  for (Index b = 0; b < x.extent(0); ++b) sequences.push_back(double_rows(x.view().select(0, b)));
  return reference::gptq(double_rows(w.view()), reference::gptq_hessian(sequences),
                         {.bits = o.bits,
                          .symmetric = o.symmetric,
                          .shrink = o.shrink,
                          .group = static_cast<std::size_t>(o.group),
                          .static_groups = o.static_groups,
                          .order = o.activation_order,
                          .damping = o.damping,
                          .block = static_cast<std::size_t>(o.block)});
}

std::vector<double> flat(const reference::Rows& rows) {
  std::vector<double> out;
  for (const auto& row : rows) out.insert(out.end(), row.begin(), row.end());
  return out;
}

void check_against_reference(Index rows, Index cols, const GptqOptions& options, bool dead) {
  const auto w = even_values<float, 2>({rows, cols}, 2);
  const auto x = correlated(2, cols, dead);
  const auto wanted = truth(w, x, options);
  const auto got = quant::gptq(w, hessian_of(x), options);
  INFO("bits " << options.bits << " group " << options.group << " block " << options.block
               << " order " << options.activation_order << " static " << options.static_groups);
  CHECK(doubles_of(got.codes.view()) == flat(wanted.codes));
  CHECK(largest_error(doubles_of(got.weight.view()), flat(wanted.weight)) <= 1e-11);
  CHECK(got.loss == Approx(wanted.loss).epsilon(1e-10));
  for (Index c = 0; c < cols; ++c)
    CHECK(static_cast<std::size_t>(got.group_of(c)) ==
          wanted.group_of[static_cast<std::size_t>(c)]);
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < cols; ++c) {
      const Index g = got.group_of(c);
      CHECK(got.weight(r, c) == got.scale(r, g) * (got.codes(r, c) - got.zero(r, g)));
    }
}

double output_error(const Tensor<float, 3>& x, const Tensor<float, 2>& w,
                    const Tensor<double, 2>& v) {
  double error = 0;
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index t = 0; t < x.extent(1); ++t)
      for (Index r = 0; r < w.extent(0); ++r) {
        double sum = 0;
        for (Index c = 0; c < w.extent(1); ++c)
          sum += static_cast<double>(x(b, t, c)) * (static_cast<double>(w(r, c)) - v(r, c));
        error += sum * sum;
      }
  return error;
}

}  // namespace

TEST_CASE("gptq: every option agrees with the unblocked algorithm", "[quant][quant/gptq]") {
  check_against_reference(5, 37, {}, false);
  check_against_reference(1, 1, {}, false);
  check_against_reference(17, 20, {.bits = 8, .symmetric = true, .block = 7}, true);
  check_against_reference(3, 33, {.bits = 2, .shrink = true, .block = 16}, true);
  for (const bool order : {false, true})
    for (const bool fixed : {false, true})
      for (const Index block : {1, 6, 128})
        check_against_reference(4, 29,
                                {.bits = 3,
                                 .shrink = order,
                                 .group = 8,
                                 .static_groups = fixed,
                                 .activation_order = order,
                                 .block = block},
                                true);
}

TEST_CASE("gptq: uncorrelated inputs mean rounding to the nearest", "[quant]") {
  constexpr Index n = 24;
  Tensor<float, 3> x({1, n, n});
  for (Index i = 0; i < n; ++i) x(0, i, i) = 3;
  const auto w = even_values<float, 2>({6, n}, 3);
  const auto got = quant::gptq(w, hessian_of(x), {.damping = 0});
  for (Index r = 0; r < 6; ++r)
    for (Index c = 0; c < n; ++c) {
      const quant::AffineGrid<double> grid{got.scale(r, 0), got.zero(r, 0),
                                           quant::unsigned_codes(4)};
      CHECK(got.codes(r, c) == grid.encode(static_cast<double>(w(r, c))));
    }
}

TEST_CASE("gptq: the size of blocks does not matter but for dynamic groups", "[quant]") {
  const auto w = even_values<float, 2>({9, 40}, 4);
  const auto hessian = hessian_of(correlated(1, 40));
  for (const Index group : {0, 16}) {
    GptqOptions options{.group = group, .static_groups = true, .activation_order = true};
    const auto whole = quant::gptq(w, hessian, options);
    options.block = 3;
    const auto parts = quant::gptq(w, hessian, options);
    CHECK(doubles_of(whole.codes.view()) == doubles_of(parts.codes.view()));
    CHECK(whole.loss == Approx(parts.loss).epsilon(1e-12));
  }
}

TEST_CASE("gptq: outputs are nearer than those of rounding", "[quant]") {
  const auto w = even_values<float, 2>({16, 48}, 5);
  const auto x = correlated(2, 48);
  const auto got = quant::gptq(w, hessian_of(x), {.bits = 3});
  Tensor<double, 2> rounded(w.shape());
  for (Index r = 0; r < 16; ++r)
    for (Index c = 0; c < 48; ++c) {
      const quant::AffineGrid<double> grid{got.scale(r, 0), got.zero(r, 0),
                                           quant::unsigned_codes(3)};
      rounded(r, c) = grid.round_trip(static_cast<double>(w(r, c)));
    }
  CHECK(output_error(x, w, got.weight) < 0.7 * output_error(x, w, rounded));
}

TEST_CASE("gptq: dead inputs get weights of 0 and still count for the range of the row",
          "[quant]") {
  constexpr Index cols = 10, dead = 3;
  auto w = even_values<float, 2>({2, cols}, 6);
  w(0, dead) = 50;
  const auto hessian = hessian_of(correlated(1, cols, true));
  const auto row = quant::gptq(w, hessian, {});
  const auto group = quant::gptq(w, hessian, {.group = cols});
  for (const auto* got : {&row, &group})
    for (Index r = 0; r < 2; ++r) {
      CHECK(got->codes(r, dead) == got->zero(r, 0));
      CHECK(got->weight(r, dead) == 0);
    }
  CHECK(row.scale(0, 0) > 50. / 15);
  CHECK(group.scale(0, 0) < 1);
}

TEST_CASE("gptq: groups follow the columns, or their order", "[quant]") {
  constexpr Index cols = 12;
  const auto w = even_values<float, 2>({2, cols}, 7);
  const auto hessian = hessian_of(correlated(1, cols));
  GptqOptions options{.group = 4, .static_groups = true, .activation_order = true};
  const auto fixed = quant::gptq(w, hessian, options);
  options.static_groups = false;
  const auto moving = quant::gptq(w, hessian, options);
  const auto h = hessian.matrix();
  for (Index j = 0; j < cols; ++j) {
    CHECK(fixed.group_of(j) == j / 4);
    CHECK(moving.group_of(moving.order(j)) == j / 4);
    if (j > 0)
      CHECK(h(fixed.order(j - 1), fixed.order(j - 1)) >= h(fixed.order(j), fixed.order(j)));
  }
}

TEST_CASE("gptq: symmetric rows without negative weights keep their lower end", "[quant]") {
  Tensor<float, 2> w({2, 4});
  for (Index c = 0; c < 4; ++c) w(0, c) = 0.5f * static_cast<float>(c);  // row 1 is all 0
  Tensor<float, 3> x({1, 4, 4});
  for (Index i = 0; i < 4; ++i) x(0, i, i) = 1;
  const auto got = quant::gptq(w, hessian_of(x), {.symmetric = true});
  CHECK(got.scale(0, 0) == Approx(1.5 / 15));
  CHECK(got.zero(0, 0) == 8);
  CHECK(got.weight(0, 3) == Approx(0.7));  // the highest code
  CHECK(got.scale(1, 0) == Approx(2. / 15));
  for (Index c = 0; c < 4; ++c) CHECK(got.weight(1, c) == 0);
}

TEST_CASE("gptq: ternary weights take three values", "[quant]") {
  constexpr Index cols = 16;
  const auto w = even_values<float, 2>({5, cols}, 8);
  const auto got = quant::gptq(w, hessian_of(correlated(1, cols)), {.ternary = true, .group = 8});
  for (Index r = 0; r < 5; ++r)
    for (Index c = 0; c < cols; ++c) {
      const Index g = got.group_of(c);
      const double values[] = {got.low(r, g), 0, got.scale(r, g)};
      CHECK(got.low(r, g) < 0);
      CHECK(got.weight(r, c) == values[got.codes(r, c)]);
    }
  // The first column comes before any update.
  CHECK(got.codes(0, 0) == (w(0, 0) > got.scale(0, 0) / 2 ? 2
                            : w(0, 0) < got.low(0, 0) / 2 ? 0
                                                          : 1));
}

TEST_CASE("gptq: damping rises until there is a factor, and is reported", "[quant]") {
  const auto w = even_values<float, 2>({3, 8}, 9);
  Tensor<float, 3> ones({1, 1, 8});
  for (float& v : ones.span()) v = 1;
  CHECK(quant::gptq(w, hessian_of(ones), {.damping = 0}).damping >= 1e-6);
  CHECK(quant::gptq(w, hessian_of(ones), {.damping = 0.01}).damping == 0.01);
  CHECK(quant::gptq(w, hessian_of(correlated(1, 8)), {.damping = 0}).damping == 0);
}

TEST_CASE("gptq: the Hessian counts sequences", "[quant]") {
  const auto x = correlated(3, 11);
  GptqHessian one_by_one(11), at_once(11);
  for (Index b = 0; b < 3; ++b) one_by_one.add_batch(x.view().select(0, b));
  at_once.add_batch(x);
  CHECK(at_once.sequences() == 3);
  CHECK(one_by_one.sequences() == 3);
  const auto rows = [&](Index b) { return double_rows(x.view().select(0, b)); };
  const auto wanted = flat(reference::gptq_hessian({rows(0), rows(1), rows(2)}));
  CHECK(largest_error(doubles_of(at_once.matrix().view()), wanted) <= 1e-14);
  CHECK(largest_error(doubles_of(one_by_one.matrix().view()), wanted) <= 1e-14);
  // Long sequences are added in parts.
  const auto tokens = even_values<float, 2>({1100, 3}, 10);
  GptqHessian longer(3);
  longer.add_batch(tokens);
  CHECK(largest_error(doubles_of(longer.matrix().view()),
                      flat(reference::gptq_hessian({double_rows(tokens.view())}))) <= 1e-13);
}

TEST_CASE("gptq: results become matrices of codes", "[quant]") {
  constexpr Index cols = 20;
  const auto w = even_values<float, 2>({3, cols}, 11);
  const auto hessian = hessian_of(correlated(1, cols));
  GptqOptions options{.group = 8, .static_groups = true, .activation_order = true};
  const auto result = quant::gptq(w, hessian, options);
  const auto matrix = quant::quantized_matrix(result);
  for (Index r = 0; r < 3; ++r)
    for (Index c = 0; c < cols; ++c)
      CHECK(static_cast<double>(matrix(r, c)) == Approx(result.weight(r, c)).epsilon(1e-6));
  options.static_groups = false;
  CHECK(contains(message_of([&] { quant::quantized_matrix(quant::gptq(w, hessian, options)); }),
                 "static_groups"));
  CHECK(contains(
      message_of([&] { quant::quantized_matrix(quant::gptq(w, hessian, {.ternary = true})); }),
      "ternary"));
}

TEST_CASE("gptq: results become checkpoints, with any groups", "[quant]") {
  constexpr Index rows = 32, cols = 64;
  const auto w = even_values<float, 2>({rows, cols}, 13);
  const auto hessian = hessian_of(correlated(1, cols));
  const auto result = quant::gptq(w, hessian, {.group = 16, .activation_order = true});
  const auto matrix = quant::checkpoint_matrix(result);
  const auto words = quant::pack_gptq(matrix, quant::GptqZeros::plain);
  const auto back = quant::unpack_gptq({.qweight = words.qweight,
                                        .qzeros = words.qzeros,
                                        .scales = matrix.scales,
                                        .g_idx = matrix.g_idx,
                                        .bits = 4,
                                        .stored = quant::GptqZeros::plain});
  Tensor<float, 2> weight({rows, cols});
  quant::dequantize(back, weight.view().transpose(0, 1));
  CHECK(largest_error(doubles_of(weight.view()), doubles_of(result.weight.view())) <= 1e-6);
}

TEST_CASE("gptq: what it cannot do is named", "[quant]") {
  const auto w = even_values<float, 2>({2, 4}, 12);
  const auto x = correlated(1, 4);
  const auto hessian = hessian_of(x);
  const auto refusal = [&](const GptqOptions& options) {
    return message_of([&] { quant::gptq(w, hessian, options); });
  };
  CHECK(contains(refusal({.bits = 1}), "1 bits"));
  CHECK(contains(refusal({.bits = 9}), "9 bits"));
  CHECK(contains(refusal({.group = -1}), "groups of -1"));
  CHECK(contains(refusal({.block = 0}), "blocks of 0"));
  CHECK(contains(refusal({.damping = -1}), "damping"));
  CHECK(contains(refusal({.shrink = true, .ternary = true}), "ternary"));
  CHECK(contains(message_of([&] { quant::gptq(w, GptqHessian(5)); }), "5 inputs"));
  CHECK(contains(message_of([&] { quant::gptq(w, GptqHessian(4)); }), "no calibration"));
  CHECK(contains(message_of([] { GptqHessian(0); }), "at least 1"));
  GptqHessian other(4);
  CHECK(contains(message_of([&] { other.add_batch(correlated(1, 5)); }), "4 inputs"));
  auto bad = correlated(2, 4);
  bad(1, 7, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK(contains(message_of([&] { other.add_batch(bad); }), "x(7, 2)"));
  CHECK(other.sequences() == 0);
  auto infinite = w.clone();
  infinite(1, 3) = std::numeric_limits<float>::infinity();
  CHECK(contains(message_of([&] { quant::gptq(infinite, hessian); }), "weight(1, 3)"));
}
