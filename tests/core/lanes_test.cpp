#include "support/catch.hpp"
#include <weft/core/lanes.hpp>

#include <cstdint>

namespace detail = weft::detail;

TEMPLATE_TEST_CASE("lanes are summed", "[lanes]", float, double) {
  using V = weft::Vec<TestType>;
  TestType lanes[V::size];
  for (std::size_t i = 0; i < V::size; ++i) lanes[i] = static_cast<TestType>(1 << i);
  // Every lane exactly once: all bits are set.
  CHECK(detail::sum_lanes(V::load_unaligned(lanes)) == static_cast<TestType>((1 << V::size) - 1));
}

TEMPLATE_TEST_CASE("the largest lane is found at any place", "[lanes]", float, double) {
  using V = weft::Vec<TestType>;
  for (std::size_t at = 0; at < V::size; ++at) {
    TestType lanes[V::size];
    for (std::size_t i = 0; i < V::size; ++i) lanes[i] = -static_cast<TestType>(i + 5);
    lanes[at] = -2;
    CHECK(detail::max_lanes(V::load_unaligned(lanes)) == -2);
  }
}

TEST_CASE("lanes are seen as another type bit by bit", "[lanes]") {
  const auto bits = detail::reinterpret<std::uint32_t>(weft::Vec<float>(1.5f));
  CHECK(bits.get(0) == 0x3fc00000u);
  CHECK(detail::reinterpret<float>(bits).get(weft::Vec<float>::size - 1) == 1.5f);
  CHECK(detail::reinterpret<std::int64_t>(weft::Vec<double>(-0.)).get(0) == INT64_MIN);
}
