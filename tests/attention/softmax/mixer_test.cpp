#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"

// Every row of the case table against the reference, in fp32, bf16 and fp16 (fp64:
// engine_fp64_test).

using cases::AttentionShape;
using weft::Index;

namespace {

/// N, M, D and E: one, primes, just beside the tiles of 256 keys, no multiples of a vector.
constexpr AttentionShape kShapes[] = {
    {.B = 1, .N = 1, .M = 1, .D = 1, .E = 1},       {.B = 2, .N = 1, .M = 7, .D = 3, .E = 40},
    {.B = 1, .N = 2, .M = 65, .D = 40, .E = 3},     {.B = 2, .N = 7, .M = 7, .D = 60, .E = 60},
    {.B = 1, .N = 63, .M = 64, .D = 64, .E = 64},   {.B = 2, .N = 65, .M = 63, .D = 72, .E = 80},
    {.B = 1, .N = 64, .M = 257, .D = 80, .E = 72},  {.B = 1, .N = 131, .M = 131, .D = 96, .E = 128},
    {.B = 1, .N = 19, .M = 513, .D = 128, .E = 64}, {.B = 1, .N = 290, .M = 33, .D = 16, .E = 24},
    {.B = 2, .N = 0, .M = 5, .D = 8, .E = 8},       {.B = 2, .N = 5, .M = 0, .D = 8, .E = 8},
    {.B = 0, .N = 5, .M = 5, .D = 8, .E = 8},
};

/// The shape with 2 key/value heads, and query heads as the row wants them.
template <class Row>
AttentionShape with_heads(const Row& row, AttentionShape shape) {
  shape.Hk = 2;
  shape.Hq = 2 * row.group;
  return shape;
}

template <class T, class Row>
void check_row(const Row& row, const AttentionShape& base) {
  const AttentionShape shape = with_heads(row, base);
  const cases::Errors errors = cases::check_forward<T>(row, shape);
  INFO(row.name << " " << cases::text(shape) << ": out " << errors.out << ", lse " << errors.lse
                << ", allowed " << errors.tolerance);
  CHECK(errors.ok());
}

}  // namespace

TEST_CASE("softmax: every row of the case table agrees with the reference", "[softmax]") {
  cases::for_each_softmax_case([](const auto& row) {
    for (const AttentionShape& shape : kShapes) check_row<float>(row, shape);
  });
}

TEST_CASE("softmax: 16-bit storage agrees with the reference", "[softmax]") {
  cases::for_each_softmax_case([](const auto& row) {
    for (const std::size_t i : {1u, 5u, 6u, 8u, 11u}) {
      check_row<weft::bf16>(row, kShapes[i]);
      check_row<weft::fp16>(row, kShapes[i]);
    }
  });
}
