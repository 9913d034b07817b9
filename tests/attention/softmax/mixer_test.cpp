#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"

// Every row of the case table against the reference, in fp32, bf16 and fp16 (fp64:
// engine_fp64_test).

using cases::AttentionShape;
using cases::kShapes;

namespace {

template <class T, class Row>
void check_row(const Row& row, const AttentionShape& base) {
  const AttentionShape shape = cases::with_heads(row, base);
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
