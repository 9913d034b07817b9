#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/io/safetensors.hpp>
#include <weft/position/alibi.hpp>

#include <string>

using namespace weft;

TEST_CASE("ALiBi slopes agree with the golden values", "[position][golden]") {
  const SafetensorsFile golden(WEFT_TEST_DATA "/softmax/alibi.safetensors");
  for (Index heads : {1, 2, 3, 5, 7, 12, 20, 40}) {
    const auto expected = golden.read<double, 1>("slopes_" + std::to_string(heads));
    const auto got = alibi_slopes<double>(heads);
    REQUIRE(largest_error(doubles_of(got.view()), doubles_of(expected.view())) < 1e-15);
  }
}

TEST_CASE("ALiBi slopes of a power of two are a geometric series", "[position]") {
  for (Index heads : {1, 2, 8, 64}) {
    const auto slopes = alibi_slopes<float>(heads);
    REQUIRE(slopes(heads - 1) == 0x1p-8f);
    for (Index h = 1; h < heads; ++h) {
      REQUIRE(slopes(h) / slopes(h - 1) == Approx(slopes(0)).epsilon(1e-6));
    }
  }
}

TEST_CASE("ALiBi slopes refuse heads that do not exist", "[position][errors]") {
  REQUIRE(contains(message_of([] { alibi_slopes(0); }), "heads is 0"));
  REQUIRE(contains(message_of([] { alibi_slope(4, 4); }), "head 4 of 4"));
  REQUIRE(contains(message_of([] { alibi_slope(-1, 4); }), "head -1 of 4"));
}
