#include "support/catch.hpp"
#include "support/threads.hpp"
#include <weft/core/random.hpp>
#include <weft/quant/int8_gemm.hpp>

using namespace weft;
using namespace weft::quant;

namespace {

template <class B>
Tensor<B, 2> bytes(Index rows, Index cols, std::uint64_t seed) {
  Tensor<B, 2> out({rows, cols});
  Philox random(seed);
  for (B& b : out.span()) b = static_cast<B>(random());
  return out;
}

Tensor<std::int32_t, 1> zeros(Index n, std::uint64_t seed) {
  Tensor<std::int32_t, 1> out({n});
  Philox random(seed);
  for (auto& z : out.span()) z = static_cast<std::int32_t>(random() % 600) - 300;
  return out;
}

/// sum_k (a - za) (b - zb), one by one; zeros may be missing.
template <class B>
std::int64_t sum(const View<const B, 2>& a, const View<const std::int8_t, 2>& b, Index m, Index n,
                 std::int64_t za, std::int64_t zb) {
  std::int64_t s = 0;
  for (Index k = 0; k < a.extent(1); ++k) s += (a(m, k) - za) * (b(k, n) - zb);
  return s;
}

template <class B>
void check_sums(Index rows, Index cols, Index depth) {
  const auto a = bytes<B>(rows, depth, 1);
  const auto b = bytes<std::int8_t>(depth, cols, 2);
  const auto za = zeros(rows, 3), zb = zeros(cols, 4);
  const PackedInt8<> packed(b);
  Tensor<std::int32_t, 2> plain({rows, cols}), both({rows, cols});
  gemm_int8(a, {}, packed, {}, plain);
  gemm_int8(a, {{}, za}, packed, {{}, zb}, both);
  Index wrong = 0;
  for (Index m = 0; m < rows; ++m)
    for (Index n = 0; n < cols; ++n) {
      wrong += plain(m, n) != sum<B>(a, b, m, n, 0, 0);
      wrong += both(m, n) != sum<B>(a, b, m, n, za(m), zb(n));
    }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("sums of products of bytes are exact for all shapes") {
  for (const auto& [rows, cols, depth] : {std::array<Index, 3>{1, 1, 1},
                                          {5, 7, 32},
                                          {2, 64, 3},
                                          {33, 130, 67},
                                          {1, 200, 129},
                                          {17, 63, 4100},
                                          {130, 65, 64},
                                          {48, 31, 2500}}) {
    CAPTURE(rows, cols, depth);
    check_sums<std::uint8_t>(rows, cols, depth);
    check_sums<std::int8_t>(rows, cols, depth);
  }
}

TEST_CASE("the largest bytes do not saturate") {
  for (const int value : {-128, 127}) {
    Tensor<std::int8_t, 2> a({2, 600}), b({600, 3});
    std::fill_n(a.data(), a.size(), std::int8_t{-128});
    std::fill_n(b.data(), b.size(), static_cast<std::int8_t>(value));
    Tensor<std::int32_t, 2> c({2, 3});
    gemm_int8(a, {}, PackedInt8<>(b), {}, c);
    for (const auto s : c.span()) CHECK(s == -128 * value * 600);
  }
  Tensor<std::uint8_t, 2> high({1, 600});
  std::fill_n(high.data(), 600, std::uint8_t{255});
  Tensor<std::int8_t, 2> low({600, 1});
  std::fill_n(low.data(), 600, std::int8_t{-128});
  Tensor<std::int32_t, 2> c({1, 1});
  gemm_int8(high, {}, PackedInt8<>(low), {}, c);
  CHECK(c(0, 0) == -255 * 128 * 600);
}

TEST_CASE("strided operands of a product of bytes") {
  const auto all = bytes<std::uint8_t>(40, 90, 5);
  const auto a = all.view().slice(0, 3, 20).slice(1, 1, 60);
  const auto weights = bytes<std::int8_t>(50, 60, 6);
  const auto b = weights.view().transpose(0, 1);
  Tensor<std::int32_t, 2> wide({20, 70});
  const auto c = wide.view().slice(1, 7, 50);
  gemm_int8(a, {}, PackedInt8<>(b), {}, c);
  Index wrong = 0;
  for (Index m = 0; m < 20; ++m)
    for (Index n = 0; n < 50; ++n) wrong += c(m, n) != sum<std::uint8_t>(a, b, m, n, 0, 0);
  CHECK(wrong == 0);
  CHECK(wide(0, 6) == 0);
  CHECK(wide(19, 57) == 0);
}

TEST_CASE("scales, zeros and an epilogue") {
  const Index rows = 19, cols = 70, depth = 45;
  const auto a = bytes<std::uint8_t>(rows, depth, 7);
  const auto b = bytes<std::int8_t>(depth, cols, 8);
  Tensor<float, 1> sa({rows}), sb({cols}), bias({cols}), one({1});
  Tensor<std::int32_t, 1> zero({1});
  Philox random(9);
  random.uniform(sa.span());
  random.uniform(sb.span());
  random.normal(bias.span());
  one(0) = 0.5f;
  zero(0) = 131;
  Tensor<float, 2> y({rows, cols}), z({rows, cols});
  const PackedInt8<> packed(b);
  gemm_int8(a, {sa, zero}, packed, {sb, {}}, y, Bias{bias.view()});
  gemm_int8(a, {one, {}}, packed, {}, z, NoEpilogue{});
  for (Index m = 0; m < rows; ++m)
    for (Index n = 0; n < cols; ++n) {
      const double s = static_cast<double>(sum<std::uint8_t>(a, b, m, n, 131, 0));
      const double exact = s * double(sa(m)) * double(sb(n)) + double(bias(n));
      CHECK(double(y(m, n)) == Approx(exact).margin(4 * 1.2e-7 * std::abs(exact - bias(n)) + 1e-6));
      CHECK(z(m, n) == 0.5f * static_cast<float>(sum<std::uint8_t>(a, b, m, n, 0, 0)));
    }
}

TEST_CASE("products of bytes without depth, rows or columns") {
  Tensor<std::int32_t, 2> c({2, 3});
  std::fill_n(c.data(), 6, 7);
  gemm_int8(Tensor<std::int8_t, 2>({2, 0}), {}, PackedInt8<>(Tensor<std::int8_t, 2>({0, 3})), {},
            c);
  for (const auto s : c.span()) CHECK(s == 0);
  Tensor<std::int32_t, 2> none({0, 3});
  gemm_int8(Tensor<std::int8_t, 2>({0, 5}), {}, PackedInt8<>(Tensor<std::int8_t, 2>({5, 3})), {},
            none);
  const PackedInt8<> empty;
  CHECK(empty.cols() == 0);
}

TEST_CASE("elements of a packed matrix of bytes") {
  const auto b = bytes<std::int8_t>(37, 131, 10);
  const PackedInt8<> packed(b);
  Index wrong = 0;
  for (Index k = 0; k < 37; ++k)
    for (Index n = 0; n < 131; ++n) wrong += packed(k, n) != b(k, n);
  CHECK(wrong == 0);
}

TEST_CASE("a product of bytes does not depend on the number of threads") {
  const auto a = bytes<std::int8_t>(300, 128, 11);
  const PackedInt8<> b(bytes<std::int8_t>(128, 300, 12));
  Tensor<std::int32_t, 2> expected({300, 300});
  gemm_int8(a, {}, b, {}, expected);
  for (const int threads : {2, 3}) {
    auto executor = fresh_threads(threads);
    Context ctx(executor);
    Tensor<std::int32_t, 2> c({300, 300});
    gemm_int8(a, {}, b, {}, c, ctx);
    CHECK(std::equal(c.data(), c.data() + c.size(), expected.data()));
  }
}

TEST_CASE("a product of bytes refuses what does not fit") {
  const auto a = bytes<std::int8_t>(2, 5, 13);
  const PackedInt8<> b(bytes<std::int8_t>(5, 3, 14));
  Tensor<std::int32_t, 2> c({2, 3}), wide({2, 4});
  Tensor<float, 1> scale({2});
  Tensor<std::int32_t, 1> zero({4});
  Tensor<float, 2> y({2, 3});
  CHECK_THROWS_AS(gemm_int8(bytes<std::int8_t>(2, 4, 1), {}, b, {}, c), weft::error);
  CHECK_THROWS_AS(gemm_int8(a, {}, b, {}, wide), weft::error);
  CHECK_THROWS_AS(gemm_int8(a, {{}, zero}, b, {}, c), weft::error);
  CHECK_THROWS_AS(gemm_int8(a, {}, b, {{}, zero}, c), weft::error);
  CHECK_THROWS_AS(gemm_int8(a, {}, b, {scale, {}}, y, NoEpilogue{}), weft::error);
}
