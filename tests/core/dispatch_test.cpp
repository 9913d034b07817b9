#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/core/dispatch.hpp>

#include <utility>

using namespace weft;

namespace {

template <int Number, bool Supported>
struct FakeIsa {
  static constexpr const char* name = Number == 1 ? "one" : Number == 2 ? "two" : "three";
  static constexpr int number = Number;
  static bool supported() { return Supported; }
};

template <bool... Supported>
int chosen() {
  return [&]<int... Number>(std::integer_sequence<int, Number...>) {
    return dispatch_among<FakeIsa<Number + 1, Supported>...>(
        []<class Isa>() { return Isa::number; });
  }(std::make_integer_sequence<int, sizeof...(Supported)>());
}

}  // namespace

TEST_CASE("the highest supported instruction set is chosen", "[dispatch]") {
  REQUIRE(chosen<true>() == 1);
  REQUIRE(chosen<true, true, true>() == 3);
  REQUIRE(chosen<true, true, false>() == 2);
  REQUIRE(chosen<true, false, false>() == 1);
  REQUIRE(chosen<true, false, true>() == 3);
  REQUIRE(chosen<false, true, false>() == 2);
}

TEST_CASE("what the chosen build returns is passed on as it is", "[dispatch]") {
  int target = 0;
  int& reference = dispatch_among<FakeIsa<1, true>>([&]<class>() -> int& { return target; });
  REQUIRE(&reference == &target);
}

TEST_CASE("a program without a usable build says so", "[dispatch]") {
  bool called = false;
  auto call = [&]<class>() { called = true; };
  REQUIRE(message_of([&] { dispatch_among<FakeIsa<1, false>>(call); }) ==
          "weft: built for one only, which this processor or operating system lacks");
  REQUIRE(contains(message_of([&] { dispatch_among<FakeIsa<2, false>, FakeIsa<3, false>>(call); }),
                   "two, three"));
  REQUIRE_FALSE(called);
}

TEST_CASE("each level of x86-64 includes the ones below", "[dispatch]") {
  for (int level = 2; level <= 4; ++level) {
    if (cpu_has_x86_64(level)) REQUIRE(cpu_has_x86_64(level - 1));
  }
}

TEST_CASE("this program's own instruction set is reported as supported", "[dispatch]") {
#if defined(__x86_64__)
  REQUIRE(cpu_has_x86_64(1));
#endif
#if defined(__SSE4_2__)
  REQUIRE(cpu_has_x86_64(2));
#endif
#if defined(__AVX2__) && defined(__FMA__) && defined(__BMI2__)
  REQUIRE(cpu_has_x86_64(3));
#endif
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
  REQUIRE(cpu_has_x86_64(4));
#endif
}
