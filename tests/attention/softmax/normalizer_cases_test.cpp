#include "attention/softmax/compare.hpp"
#include "cases/normalizers.hpp"
#include "support/catch.hpp"

// Every row of the table of normalizers against the reference.

using cases::AttentionShape;
using cases::check_row;
using cases::kShapes;

TEST_CASE("normalizers: every row of the case table agrees with the reference", "[softmax]") {
  cases::for_each_normalizer_case([](const auto& row) {
    for (const AttentionShape& shape : kShapes) check_row<float>(row, shape);
    for (const std::size_t i : {1u, 5u, 6u, 8u, 11u}) check_row<double>(row, kShapes[i]);
  });
}

TEST_CASE("normalizers: decode over more keys than one split holds", "[softmax]") {
  cases::for_each_normalizer_case([](const auto& row) {
    check_row<float>(row, {.B = 2, .N = 1, .M = 2500, .D = 24, .E = 20});
    check_row<float>(row, {.B = 1, .N = 3, .M = 1025, .D = 16, .E = 40});
  });
}

TEST_CASE("normalizers: more keys than logits are kept of between two passes", "[softmax]") {
  cases::for_each_normalizer_case([](const auto& row) {
    check_row<float>(row, {.B = 1, .N = 30, .M = 10300, .D = 8, .E = 12});
  });
}

TEST_CASE("normalizers: 16-bit storage agrees with the reference", "[softmax]") {
  cases::for_each_normalizer_case([](const auto& row) {
    for (const std::size_t i : {1u, 5u, 6u, 8u, 11u}) {
      check_row<weft::bf16>(row, kShapes[i]);
      check_row<weft::fp16>(row, kShapes[i]);
    }
  });
}
