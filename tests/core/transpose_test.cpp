#include "support/catch.hpp"
#include <weft/core/transpose.hpp>

using namespace weft;
using namespace weft::detail;

namespace {

/// Lane k of row r holds 100 r + k.
template <class T, int N>
void fill(Vec<T> (&rows)[N]) {
  T lanes[kWidth<T>];
  for (int r = 0; r < N; ++r) {
    for (int k = 0; k < kWidth<T>; ++k) lanes[k] = static_cast<T>(100 * r + k);
    rows[r] = load<DefaultArch>(lanes);
  }
}

template <class T, int N>
void check_interleaving() {
  Vec<T> rows[N];
  fill(rows);
  interleave_rows(rows);
  T memory[N * kWidth<T>];
  for (int r = 0; r < N; ++r) store<DefaultArch>(memory + r * kWidth<T>, rows[r]);
  for (int i = 0; i < N * kWidth<T>; ++i) CHECK(memory[i] == static_cast<T>(100 * (i % N) + i / N));
}

}  // namespace

TEMPLATE_TEST_CASE("interleaved rows read as columns", "[transpose]", float, double) {
  check_interleaving<TestType, 1>();
  check_interleaving<TestType, 2>();
  check_interleaving<TestType, static_cast<int>(kWidth<TestType>)>();
}

TEMPLATE_TEST_CASE("sums of rows, lane by lane", "[transpose]", float, double) {
  constexpr auto W = static_cast<std::size_t>(kWidth<TestType>);
  Vec<TestType> rows[W];
  fill<TestType, static_cast<int>(W)>(rows);
  TestType sums[W];
  store<DefaultArch>(sums, sum_rows<static_cast<int>(W)>(rows));
  for (std::size_t r = 0; r < W; ++r)
    CHECK(sums[r] == static_cast<TestType>(W * 100 * r + W * (W - 1) / 2));
}
