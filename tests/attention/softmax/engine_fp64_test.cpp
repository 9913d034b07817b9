#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"

using cases::AttentionShape;

TEST_CASE("softmax in fp64: every row of the case table agrees with the reference", "[softmax]") {
  constexpr AttentionShape kShapes[] = {
      {.B = 2, .Hk = 2, .N = 1, .M = 7, .D = 3, .E = 40},
      {.B = 1, .Hk = 2, .N = 65, .M = 63, .D = 72, .E = 80},
      {.B = 2, .Hk = 1, .N = 33, .M = 300, .D = 40, .E = 5},
      {.B = 1, .Hk = 1, .N = 150, .M = 31, .D = 128, .E = 64},
  };
  cases::for_each_softmax_case([&](const auto& row) {
    for (AttentionShape shape : kShapes) {
      shape.Hq = shape.Hk * row.group;
      const cases::Errors errors = cases::check_forward<double>(row, shape);
      INFO(row.name << " " << cases::text(shape) << ": out " << errors.out << ", lse " << errors.lse
                    << ", allowed " << errors.tolerance);
      CHECK(errors.ok());
    }
  });
}
