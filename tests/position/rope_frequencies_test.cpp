#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/io/safetensors.hpp>
#include <weft/position/rope_frequencies.hpp>

#include <limits>
#include <string>

using namespace weft;

namespace {

void require_golden(const SafetensorsFile& golden, const std::string& name,
                    const RopeFrequencies& got) {
  INFO(name);
  const auto expected = golden.read<double, 1>(name + ".inv_freq");
  REQUIRE(largest_error(got.radians, doubles_of(expected.view())) < 1e-14);
  REQUIRE(got.magnitude == Approx(golden.read<double, 1>(name + ".mscale")(0)).epsilon(1e-15));
}

}  // namespace

TEST_CASE("RoPE frequencies agree with the golden values", "[position][golden]") {
  const SafetensorsFile golden(WEFT_TEST_DATA "/softmax/rope.safetensors");
  require_golden(golden, "plain", rope_frequencies(8));
  require_golden(golden, "partial", rope_frequencies(8));
  require_golden(golden, "linear", rope_frequencies(8, 1e4, RopeLinear{4}));
  require_golden(golden, "ntk", rope_frequencies(16, 1e4, RopeNtk{4}));
  require_golden(golden, "yarn", rope_frequencies(32, 1e4, RopeYarn{4, 2048}));
  require_golden(golden, "llama3", rope_frequencies(32, 5e5, RopeLlama3{}));
  require_golden(golden, "ntk_by_parts", rope_frequencies(32, 1e4, RopeNtkByParts{4, 2048}));
}

TEST_CASE("RoPE scalings by a factor of 1 change nothing", "[position]") {
  const auto plain = rope_frequencies(64).radians;
  REQUIRE(largest_error(rope_frequencies(64, 1e4, RopeLinear{1}).radians, plain) == 0);
  REQUIRE(largest_error(rope_frequencies(64, 1e4, RopeNtk{1}).radians, plain) == 0);
  REQUIRE(largest_error(rope_frequencies(64, 1e4, RopeYarn{1, 512}).radians, plain) < 1e-15);
  REQUIRE(rope_frequencies(64, 1e4, RopeYarn{1, 512}).magnitude == 1.0);
  REQUIRE(largest_error(rope_frequencies(64, 1e4, RopeLlama3{1, 512}).radians, plain) < 1e-15);
  const RopeNtkByParts parts{1, 512};
  REQUIRE(largest_error(rope_frequencies(64, 1e4, parts).radians, plain) < 1e-15);
}

TEST_CASE("RoPE scalings keep the fast pairs and stretch the slow ones", "[position]") {
  const auto plain = rope_frequencies(128).radians;
  const auto yarn = rope_frequencies(128, 1e4, RopeYarn{8, 4096}).radians;
  const auto llama = rope_frequencies(128, 1e4, RopeLlama3{8, 8192}).radians;
  for (const auto& scaled : {yarn, llama}) {
    REQUIRE(scaled.front() == plain.front());
    REQUIRE(scaled.back() == Approx(plain.back() / 8).epsilon(1e-14));
    for (std::size_t i = 1; i < scaled.size(); ++i) REQUIRE(scaled[i] < scaled[i - 1]);
  }
  const auto ntk = rope_frequencies(128, 1e4, RopeNtk{8}).radians;
  REQUIRE(ntk.front() == 1.0);
  REQUIRE(ntk.back() == Approx(plain.back() / 8).epsilon(1e-13));
}

TEST_CASE("a YaRN ramp beyond the last pair leaves all of them alone", "[position]") {
  // With 10^9 tokens of training context even the slowest pair turns more than 32 times.
  const RopeYarn yarn{4, 1e9};
  REQUIRE(largest_error(rope_frequencies(8, 100, yarn).radians, rope_frequencies(8, 100).radians) ==
          0);
}

TEST_CASE("RoPE frequencies refuse what has no meaning", "[position][errors]") {
  const double infinite = std::numeric_limits<double>::infinity();
  REQUIRE(contains(message_of([] { rope_frequencies(7); }), "7 rotary channels"));
  REQUIRE(contains(message_of([] { rope_frequencies(0); }), "0 rotary channels"));
  REQUIRE(contains(message_of([] { rope_frequencies(8, 1.0); }), "base is 1"));
  REQUIRE(contains(message_of([&] { rope_frequencies(8, infinite); }), "base is inf"));
  REQUIRE(contains(message_of([] { rope_frequencies(8, 1e4, RopeLinear{0.5}); }), "factor is 0.5"));
  REQUIRE(contains(message_of([] { rope_frequencies(2, 1e4, RopeNtk{2}); }), "more than 2"));
  REQUIRE(contains(message_of([] { rope_frequencies(8, 1e4, RopeYarn{2, 0}); }), "context is 0"));
  REQUIRE(contains(message_of([] {
                     rope_frequencies(8, 1e4, RopeYarn{2, 64, 1, 4});
                   }),
                   "ramp from 1"));
  REQUIRE(contains(message_of([] {
                     rope_frequencies(8, 1e4, RopeLlama3{8, 64, 4, 4});
                   }),
                   "Llama 3 scaling between 4"));
}
