#include "reference/normalizer.hpp"
#include "support/catch.hpp"
#include <weft/layer/gelu_table.hpp>

#include <cmath>

using namespace weft;

namespace {

template <class T>
T table_gelu(T x) {
  return GeluTable{}(Vec<T>(x)).get(0);
}

}  // namespace

TEMPLATE_TEST_CASE("gelu_table: interpolates the published table", "[layer][layer/gelu_table]",
                   float, double) {
  using T = TestType;
  double worst = 0, from_gelu = 0;
  for (double x = -8; x <= 8; x += 1.0 / 512) {
    const double got = double(table_gelu(static_cast<T>(x)));
    worst = std::max(worst, std::abs(got - reference::gelu_by_table(x)));
    from_gelu = std::max(from_gelu, std::abs(got - reference::gelu(x)));
  }
  CHECK(worst < 4 * double(std::numeric_limits<T>::epsilon()));
  CHECK(from_gelu < 9.8e-5);
  CHECK(from_gelu > 9.6e-5);
}

TEMPLATE_TEST_CASE("gelu_table: symmetry, ends and NaN", "[layer]", float, double) {
  using T = TestType;
  CHECK(table_gelu(T(0)) == T(0));
  for (const double at : {0.01, 0.3, 1.0, 2.75, 5.49, 5.5, 5.51, 100.0}) {
    const T x = static_cast<T>(at);
    CHECK(double(table_gelu(x) - table_gelu(-x)) == Approx(at).epsilon(1e-6));
  }
  CHECK(table_gelu(T(5.5)) == T(5.5));
  CHECK(table_gelu(T(-5.5)) == T(0));
  CHECK(table_gelu(std::numeric_limits<T>::max()) == std::numeric_limits<T>::max());
  CHECK(std::isnan(table_gelu(std::numeric_limits<T>::quiet_NaN())));
}
