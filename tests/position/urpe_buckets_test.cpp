#include "reference/distance.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/io/safetensors.hpp>
#include <weft/position/urpe_buckets.hpp>

using namespace weft;

TEST_CASE("URPE buckets agree with the golden values", "[position][golden]") {
  const SafetensorsFile golden(WEFT_TEST_DATA "/softmax/urpe.safetensors");
  const UrpeBuckets buckets{32, 128, 256};
  const auto right = golden.read<std::int32_t, 1>("bucket_row0_L256_nb32_md128");
  const auto left = golden.read<std::int32_t, 1>("bucket_col0_L256_nb32_md128");
  for (Index d = 0; d < 256; ++d) {
    REQUIRE(relative_bucket(buckets, d) == right(d));
    REQUIRE(relative_bucket(buckets, -d) == left(d));
  }
}

TEST_CASE("URPE buckets agree with the reference, short sequences included", "[position]") {
  for (const auto& [count, distance] : {std::pair<int, int>{64, 128}, {4, 2}, {8, 20}, {10, 33}})
    for (const Index length : {1, 2, 7, 100, 512})
      for (Index d = -600; d <= 600; ++d) {
        const Index bucket = relative_bucket(UrpeBuckets{count, distance, length}, d);
        REQUIRE(bucket == reference::urpe_bucket(d, count, distance, length));
        REQUIRE((bucket >= 0 && bucket <= count));
      }
}

TEST_CASE("URPE bias by distance picks the table's rows; impossible sizes", "[position][errors]") {
  const auto table = even_values<float, 2>({65, 2}, 1);
  Tensor<float, 2> bias({2, 40});
  relative_bias(UrpeBuckets{}, table, -20, bias);
  for (Index t = 0; t < 40; ++t)
    REQUIRE(bias(1, t) == table(relative_bucket(UrpeBuckets{}, t - 20), 1));
  const auto refusal = [&](const UrpeBuckets& buckets) {
    return message_of([&] { relative_bias(buckets, table, -20, bias); });
  };
  REQUIRE(contains(refusal({62, 128, 512}), "table has 65 rows, there are 63 buckets"));
  REQUIRE(contains(refusal({7, 128, 512}), "count is 7"));
  REQUIRE(contains(refusal({64, 16, 512}), "max_distance is 16"));
  REQUIRE(contains(refusal({64, 128, 0}), "max_length is 0"));
}
