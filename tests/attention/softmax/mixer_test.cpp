#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"

// Every row of the case table against the reference, in fp32, bf16 and fp16 (fp64:
// engine_fp64_test).

using cases::AttentionShape;
using cases::check_row;
using cases::kShapes;

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
