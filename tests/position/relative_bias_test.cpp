#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/io/safetensors.hpp>
#include <weft/position/relative_bias.hpp>

#include <string>

using namespace weft;

TEST_CASE("T5 buckets agree with the golden values", "[position][golden]") {
  const SafetensorsFile golden(WEFT_TEST_DATA "/softmax/t5_bias.safetensors");
  const auto rel = golden.read<std::int32_t, 1>("rel");
  for (bool bidirectional : {true, false})
    for (const auto& [count, distance] : {std::pair<Index, Index>{32, 128}, {8, 20}}) {
      const RelativeBuckets buckets{count, distance, bidirectional};
      const std::string name = "buckets_bid" + std::to_string(bidirectional) + "_" +
                               std::to_string(count) + "_" + std::to_string(distance);
      INFO(name);
      const auto expected = golden.read<std::int32_t, 1>(name);
      for (Index i = 0; i < rel.extent(0); ++i) {
        REQUIRE(relative_bucket(buckets, rel(i)) == expected(i));
      }
    }
}

TEST_CASE("T5 bias by distance picks the table's rows", "[position][golden]") {
  const SafetensorsFile golden(WEFT_TEST_DATA "/softmax/t5_bias.safetensors");
  const auto table = golden.read<float, 2>("dec.table");
  const auto bucket = golden.read<std::int32_t, 2>("dec.bucket");
  const Index queries = bucket.extent(0), keys = bucket.extent(1), first = 1 - keys;
  Poisoned<float, 2> bias({2, queries + keys - 1});
  relative_bias(RelativeBuckets{32, 128, false}, table.view(), first, bias.view());
  for (Index h = 0; h < 2; ++h)
    for (Index i = 0; i < queries; ++i)
      for (Index j = 0; j < keys; ++j) {
        const Index rel = j - (i + keys - queries);
        REQUIRE(bias.view()(h, rel - first) == table(bucket(i, j), h));
      }
  REQUIRE(bias.guards_intact());
}

TEST_CASE("T5 buckets grow with distance and end at the last", "[position]") {
  const RelativeBuckets both{32, 128, true}, past{32, 128, false};
  for (Index d = 1; d < 2000; ++d) {
    REQUIRE(relative_bucket(both, -d) >= relative_bucket(both, 1 - d));
    REQUIRE(relative_bucket(both, d) == relative_bucket(both, -d) + 16);
    REQUIRE(relative_bucket(past, d) == 0);
  }
  REQUIRE(relative_bucket(both, -128) == 15);
  REQUIRE(relative_bucket(both, 1000000) == 31);
  REQUIRE(relative_bucket(past, -1000000) == 31);
}

TEST_CASE("T5 bias refuses impossible sizes", "[position][errors]") {
  Tensor<float, 2> table({32, 2}), bias({2, 5});
  const auto message = [&](const RelativeBuckets& buckets) {
    return message_of([&] { relative_bias(buckets, table.view(), -2, bias.view()); });
  };
  REQUIRE(contains(message({7, 128, true}), "count is 7"));
  REQUIRE(contains(message({2, 128, true}), "count is 2"));
  REQUIRE(contains(message({1, 128, false}), "count is 1"));
  REQUIRE(contains(message({32, 8, true}), "max_distance is 8"));
  REQUIRE(contains(message({16, 128, true}), "table has 32 rows, there are 16 buckets"));
  Tensor<float, 2> other({3, 5});
  REQUIRE(contains(
      message_of([&] { relative_bias(RelativeBuckets{}, table.view(), -2, other.view()); }),
      "bias has 3 heads, the table has 2"));
}
