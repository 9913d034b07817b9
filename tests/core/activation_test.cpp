#include "support/catch.hpp"
#include <weft/core/activation.hpp>

using namespace weft;

namespace {

template <class V, class F, class G>
void require_function(F f, G g) {
  using T = typename V::value_type;
  for (double at : {-30.0, -1.5, -0.25, 0.0, 0.5, 2.0, 40.0}) {
    const V x(static_cast<T>(at));
    REQUIRE(f(x).get(0) == g(x).get(0));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("activation types call the functions of their names", "[core]", float, double) {
  using V = Vec<TestType>;
  require_function<V>(Identity{}, [](V x) { return x; });
  require_function<V>(Relu{}, [](V x) { return math::relu(x); });
  require_function<V>(Tanh{}, [](V x) { return math::tanh(x); });
  require_function<V>(Sigmoid{}, [](V x) { return math::sigmoid(x); });
  require_function<V>(Softplus{}, [](V x) { return math::softplus(x); });
  require_function<V>(Silu{}, [](V x) { return math::silu(x); });
  require_function<V>(GeluErf{}, [](V x) { return math::gelu_erf(x); });
  require_function<V>(GeluTanh{}, [](V x) { return math::gelu_tanh(x); });
}
