#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/io/python_literal.hpp>

using nlohmann::json;
using weft::python_literal;

TEST_CASE("python literals become JSON", "[io]") {
  CHECK(python_literal("{'dims': (1, 2), 'mode': 'causal_br', 'scale': 0.25,}", "t") ==
        json{{"dims", {1, 2}}, {"mode", "causal_br"}, {"scale", 0.25}});
  CHECK(python_literal(" { } ", "t") == json::object());
  CHECK(python_literal("()", "t") == json::array());
  CHECK(python_literal("(3,)", "t") == json::array({3}));
  CHECK(python_literal("(3)", "t") == json(3));
  CHECK(python_literal("[3]", "t") == json::array({3}));
  CHECK(python_literal("[None, True, False]", "t") == json::array({nullptr, true, false}));
  CHECK(python_literal("(-1, +2, 1., .5, -.5, 1e-3, 1.e5)", "t") ==
        json::array({-1, 2, 1.0, 0.5, -0.5, 1e-3, 1e5}));
  CHECK(python_literal(R"("it's" )", "t") == "it's");
  CHECK(python_literal(R"('a\'b\\c\n')", "t") == "a'b\\c\n");
  CHECK(python_literal("{'a': {'b': [(1, 2), ()]}}", "t") ==
        json{{"a", {{"b", json::array({json::array({1, 2}), json::array()})}}}});
}

TEST_CASE("what is no python literal is refused", "[io]") {
  const std::string bad[] = {"",
                             "{",
                             "}",
                             "(1",
                             "(1 2)",
                             "[1,,2]",
                             "{1: 2}",
                             "{'a' 1}",
                             "{'a'}",
                             "{'a':1 'b':2}",
                             "'open",
                             "'\\x41'",
                             "1 2",
                             "nan",
                             "1.2.3",
                             "--1",
                             "f(1)",
                             "{'a':1,'a':2}",
                             "[1)",
                             "'a' 'b'",
                             std::string("1\0", 2),
                             std::string(100, '(')};
  for (const std::string& text : bad) {
    INFO(text);
    CHECK(contains(message_of([&] { python_literal(text, "notes"); }), "weft: notes: "));
  }
}
