#include "golden/report.hpp"

#include "golden/metadata.hpp"
#include "support/catch.hpp"
#include "support/temporary_folder.hpp"

#include <limits>

using golden::Case;
using weft::Tensor;

namespace {

template <class T>
Tensor<T, 1> tensor(std::initializer_list<T> values) {
  Tensor<T, 1> out({static_cast<weft::Index>(values.size())});
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

template <class T>
bool passes(const Tensor<T, 1>& got, const Tensor<double, 1>& expected) {
  Case c;
  c.compare("x", got, expected);
  return c.passed();
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

TEST_CASE("a golden case is as strict as its precision", "[golden]") {
  CHECK(passes(tensor<double>({1, 2}), tensor<double>({1, 2})));
  CHECK(passes(tensor<double>({1 + 1e-12, 2}), tensor<double>({1, 2})));
  CHECK_FALSE(passes(tensor<double>({1 + 1e-10, 2}), tensor<double>({1, 2})));
  CHECK(passes(tensor<float>({1 + 1e-6f, 2}), tensor<double>({1, 2})));
  CHECK_FALSE(passes(tensor<float>({1 + 1e-4f, 2}), tensor<double>({1, 2})));
  // Errors count against the largest expected magnitude.
  CHECK(passes(tensor<float>({1e-4f, 1000}), tensor<double>({0, 1000})));
  CHECK_FALSE(passes(tensor<float>({1e-4f}), tensor<double>({0})));
}

TEST_CASE("NaN, infinities and shapes must agree in a golden case", "[golden]") {
  CHECK(passes(tensor<double>({-kInfinity, 1}), tensor<double>({-kInfinity, 1})));
  CHECK_FALSE(passes(tensor<double>({kInfinity, 1}), tensor<double>({-kInfinity, 1})));
  CHECK_FALSE(passes(tensor<double>({-1e300, 1}), tensor<double>({-kInfinity, 1})));
  CHECK_FALSE(passes(tensor<double>({kNan, 1}), tensor<double>({0, 1})));
  CHECK_FALSE(passes(tensor<double>({0, kNan}), tensor<double>({0, 1})));
  CHECK_FALSE(passes(tensor<double>({1}), tensor<double>({1, 1})));
}

TEST_CASE("a report counts, and an exception fails one case only", "[golden]") {
  golden::Report report;
  report.begin("test/report");
  report.run("good", [](Case&) {});
  report.run("bad", [](Case& c) { c.require("something", false); });
  report.run("thrown", [](Case&) { throw weft::error("no such tensor"); });
  report.skip("unknown mechanism");
  CHECK(report.passed() == 1);
  CHECK(report.failed() == 2);
  CHECK(report.skipped() == 1);
}

TEST_CASE("cases are described by their options or in a sentence", "[golden]") {
  using golden::described;
  CHECK(described("self/tail: mode full; causal: bottom-right, GQA", "tail") == " mode full");
  CHECK(described("self/tail: mode full; causal: bottom-right, GQA", "causal") ==
        " bottom-right, GQA");
  CHECK(described("h8 causal_br, h6 symmetric", "h6") == "symmetric");
  CHECK(described("h8 causal_br, h6 symmetric", "h7") == "");

  TemporaryFolder folder;
  weft::SafetensorsWriter writer;
  const auto one = tensor<float>({1});
  for (const char* name : {"a.q", "a.k", "b.q", "causal.q", "loose"}) writer.add(name, one);
  writer.metadata("case.a", "{'mode': 'causal_br', 'window': (2, 1)}");
  writer.metadata("cases", "b: bottom-right per sequence; c: full");
  writer.save(folder / "a.safetensors");
  const weft::SafetensorsFile file(folder / "a.safetensors");
  CHECK(golden::case_names(file) == std::vector<std::string>{"a", "b", "causal"});
  CHECK(golden::case_options(file, "a").at("window") == nlohmann::json{2, 1});
  CHECK(golden::case_options(file, "b").empty());
  CHECK(golden::is_causal(file, "a"));
  CHECK(golden::is_causal(file, "b"));
  CHECK(golden::is_causal(file, "causal"));
  CHECK_FALSE(golden::is_causal(file, "c"));
}
