#include "support/catch.hpp"
#include <weft/core/simd.hpp>

#include <cmath>
#include <cstdint>
#include <vector>

using weft::Index;
using A = weft::DefaultArch;

TEST_CASE("sizes of registers", "[simd]") {
  static_assert(weft::kWidth<float> == 2 * weft::kWidth<double>);
  static_assert(weft::kWidth<std::int32_t> == weft::kWidth<float>);
  static_assert(weft::kRegisters<A> == (weft::kWidth<float> == 16 ? 32 : 16));
  static_assert(std::is_same_v<weft::Accumulator<double>, double>);
  static_assert(std::is_same_v<weft::Accumulator<float>, float>);
  static_assert(weft::round_up(13, 4) == 16 && weft::round_up(16, 4) == 16);
  static_assert(weft::ceil_div(13, 4) == 4 && weft::ceil_div(0, 4) == 0);
  SUCCEED();
}

TEMPLATE_TEST_CASE("loads and stores need no alignment", "[simd]", float, double, std::int32_t) {
  constexpr Index width = weft::kWidth<TestType>;
  std::vector<TestType> in(static_cast<std::size_t>(width + 1)), out(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<TestType>(i + 1);
  weft::store<A>(out.data() + 1, weft::load<A>(in.data() + 1));
  CHECK(out[0] == 0);
  for (std::size_t i = 1; i < in.size(); ++i) CHECK(out[i] == in[i]);
}

TEMPLATE_TEST_CASE("partial loads and stores", "[simd]", float, double, std::int32_t,
                   std::uint16_t) {
  constexpr Index width = weft::kWidth<TestType>;
  for (Index n = 0; n <= width; ++n) {
    // Exactly n elements on the heap: a sanitizer sees an access beyond them.
    std::vector<TestType> in(static_cast<std::size_t>(n), TestType(3));
    const weft::Vec<TestType> v = weft::load_partial<A>(in.data(), n);
    for (Index i = 0; i < width; ++i)
      CHECK(v.get(static_cast<std::size_t>(i)) == TestType(i < n ? 3 : 0));

    std::vector<TestType> exact(static_cast<std::size_t>(n), TestType(9));
    weft::store_partial<A>(exact.data(), v, n);
    CHECK(exact == in);

    std::vector<TestType> out(static_cast<std::size_t>(width), TestType(9));
    weft::store_partial<A>(out.data(), v, n);
    for (Index i = 0; i < width; ++i)
      CHECK(out[static_cast<std::size_t>(i)] == TestType(i < n ? 3 : 9));
  }
}

TEMPLATE_TEST_CASE("multiply-add", "[simd]", float, double) {
  using V = weft::Vec<TestType>;
  const TestType eps = std::numeric_limits<TestType>::epsilon();
  CHECK(weft::mul_add(V(2), V(3), V(4)).get(0) == 10);
  // (1 + eps)^2 - (1 + 2 eps) = eps^2 survives only without a rounding in between.
  const TestType square = weft::mul_add(V(1 + eps), V(1 + eps), V(-(1 + 2 * eps))).get(0);
  CHECK(square == (weft::kWidth<float> >= 8 ? eps * eps : 0));
}
