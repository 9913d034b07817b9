#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/core/check.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

TEST_CASE("require throws only when the condition fails", "[check]") {
  CHECK_NOTHROW(weft::require(true, "unused"));
  CHECK_THROWS_AS(weft::require(false, "text"), weft::error);
}

TEST_CASE("error messages are put together from their parts", "[check]") {
  const std::string name = "keys";
  const std::string text = message_of(
      [&] { weft::require(false, name, " has ", 7, " heads, not ", std::string_view("8")); });
  CHECK(text == "weft: keys has 7 heads, not 8");
  CHECK(message_of([] { weft::fail("no such file"); }) == "weft: no such file");
  CHECK(contains(message_of([] { weft::require(false, weft::Index{-3}); }), "-3"));
}

TEST_CASE("weft::error is a runtime error", "[check]") {
  CHECK_THROWS_AS(weft::fail("x"), std::runtime_error);
}
