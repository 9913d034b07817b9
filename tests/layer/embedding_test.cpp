#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include "support/values.hpp"
#include <weft/layer/embedding.hpp>

#include <cstdint>
#include <vector>

using namespace weft;

TEMPLATE_TEST_CASE("embed picks rows and widens them", "[layer]", float, bf16, fp16) {
  const auto table = even_values<TestType, 2>({11, 37}, 1);
  const std::vector<std::int32_t> ids = {3, 0, 10, 3};
  Poisoned<float, 2> out({4, 37});
  embed(table, ids, out.view());
  for (Index t = 0; t < 4; ++t)
    for (Index d = 0; d < 37; ++d) {
      REQUIRE(out.view()(t, d) == static_cast<float>(table(ids[static_cast<std::size_t>(t)], d)));
    }
  REQUIRE(out.guards_intact());
}

TEST_CASE("embed takes bytes as ids and a scale", "[layer]") {
  const auto table = even_values<double, 2>({256, 5}, 1);
  const std::vector<std::uint8_t> ids = {255, 0, 65};
  Tensor<double, 2> out({3, 5});
  embed(table, ids, out, Context{}, 4.0);
  for (Index d = 0; d < 5; ++d) {
    REQUIRE(out(0, d) == 4 * table(255, d));
    REQUIRE(out(2, d) == 4 * table(65, d));
  }
}

TEST_CASE("embed: threads change no bit", "[layer]") {
  const auto table = even_values<float, 2>({50, 40}, 1);
  std::vector<std::int32_t> ids;
  for (std::int32_t t = 0; t < 3000; ++t) ids.push_back(t * 7 % 50);
  Tensor<float, 2> one({3000, 40}), three({3000, 40});
  auto pool = fresh_threads(3);
  embed(table, ids, one);
  embed(table, ids, three, Context(pool));
  REQUIRE(doubles_of(three.view()) == doubles_of(one.view()));
}

TEST_CASE("embed checks every id before it writes", "[layer][errors]") {
  const auto table = even_values<float, 2>({10, 4}, 1);
  Poisoned<float, 2> out({3, 4});
  for (std::int64_t bad : {-1, 10}) {
    const std::vector<std::int64_t> ids = {1, 2, bad};
    REQUIRE(contains(message_of([&] { embed(table, ids, out.view()); }),
                     "id " + std::to_string(bad) + " at place 2; the table has rows 0 to 9"));
  }
  const std::vector<int> two = {1, 2};
  REQUIRE(
      contains(message_of([&] { embed(table, two, out.view()); }), "out is [3, 4], wanted [2, 4]"));
  REQUIRE(std::isnan(out.view()(0, 0)));
  const std::vector<int> none;
  REQUIRE_NOTHROW(embed(table, none, out.view().slice(0, 0, 0)));
}
