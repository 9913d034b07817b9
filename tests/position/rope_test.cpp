#include "reference/position.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include "support/values.hpp"
#include <weft/io/safetensors.hpp>
#include <weft/position/rope.hpp>

#include <string>
#include <vector>

using namespace weft;

namespace {

constexpr RopeLayout kLayouts[] = {RopeLayout::interleaved, RopeLayout::half};

/// Two products, a sum and the rounding of the table entries, then that of the result.
template <class S>
double tolerance() {
  return 4 * static_cast<double>(std::numeric_limits<Accumulator<S>>::epsilon()) +
         0.5 * static_cast<double>(std::numeric_limits<S>::epsilon());
}

/// x [B, H, N, D] rotated row by row, row n at positions[n].
template <class S>
std::vector<double> rotated(View<const S, 4> x, const RopeFrequencies& f,
                            const std::vector<double>& positions, RopeLayout layout) {
  std::vector<double> out;
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index h = 0; h < x.extent(1); ++h)
      for (Index n = 0; n < x.extent(2); ++n) {
        const auto row = doubles_of(x.select(0, b).select(0, h).select(0, n));
        const auto turned = reference::rope(row, f.radians, positions[static_cast<std::size_t>(n)],
                                            f.magnitude, layout == RopeLayout::interleaved);
        out.insert(out.end(), turned.begin(), turned.end());
      }
  return out;
}

std::vector<double> counting(Index first, Index count) {
  std::vector<double> out;
  for (Index n = 0; n < count; ++n) out.push_back(static_cast<double>(first + n));
  return out;
}

template <class T>
void require_golden(const SafetensorsFile& golden, const std::string& name,
                    const RopeFrequencies& f, double error) {
  INFO(name << " as " << sizeof(T) << "-byte elements");
  const auto x = golden.read<T, 4>(name + ".x");
  const Index first = golden.read<std::int32_t, 1>(name + ".pos")(0);
  for (RopeLayout layout : kLayouts) {
    const RopeTable<T> table(f, layout, x.extent(2), first);
    Poisoned<T, 4> out(x.shape());
    apply_rope(table, x, out.view(), first);
    const std::string result = layout == RopeLayout::half ? ".out_half" : ".out_interleaved";
    const auto expected = golden.read<double, 4>(name + result);
    REQUIRE(largest_error(doubles_of(out.view()), doubles_of(expected.view())) < error);
    REQUIRE(out.guards_intact());
  }
}

}  // namespace

TEST_CASE("RoPE agrees with the golden values", "[position][golden]") {
  const SafetensorsFile golden(WEFT_TEST_DATA "/softmax/rope.safetensors");
  const auto both = [&](const std::string& name, const RopeFrequencies& f) {
    require_golden<double>(golden, name, f, 1e-12);  // angles of up to 9000 rad
    require_golden<float>(golden, name, f, tolerance<float>());
  };
  both("plain", rope_frequencies(8));
  both("offset", rope_frequencies(8));
  both("partial", rope_frequencies(8));
  both("linear", rope_frequencies(8, 1e4, RopeLinear{4}));
  both("ntk", rope_frequencies(16, 1e4, RopeNtk{4}));
  both("yarn", rope_frequencies(32, 1e4, RopeYarn{4, 2048}));
  both("llama3", rope_frequencies(32, 5e5, RopeLlama3{}));
  both("ntk_by_parts", rope_frequencies(32, 1e4, RopeNtkByParts{4, 2048}));
}

TEMPLATE_TEST_CASE("RoPE agrees with the reference at all sizes", "[position]", float, double, bf16,
                   fp16) {
  using Table = RopeTable<Accumulator<TestType>>;
  for (RopeLayout layout : kLayouts)
    for (Index rotary : {2, 6, 16, 30, 32, 64, 80})
      for (Index rest : {0, 1, 5}) {
        INFO("R " << rotary << " + " << rest << " layout " << static_cast<int>(layout));
        const RopeFrequencies f = rope_frequencies(rotary);
        const auto x = even_values<TestType, 4>({2, 3, 35, rotary + rest}, 5);
        const Table table(f, layout, 60, 7);
        Poisoned<TestType, 4> out(x.shape());
        apply_rope(table, x, out.view(), 11);
        const auto expected = rotated<TestType>(x, f, counting(11, 35), layout);
        REQUIRE(largest_error(doubles_of(out.view()), expected) < tolerance<TestType>());
        REQUIRE(out.guards_intact());
      }
}

TEST_CASE("RoPE is as exact at position 100000 as near zero", "[position]") {
  const RopeFrequencies f = rope_frequencies(64);
  const auto x = even_values<float, 4>({1, 1, 4, 64}, 3);
  Tensor<float, 4> out(x.shape());
  apply_rope(RopeTable<float>(f, RopeLayout::half, 4, 100000), x, out, 100000);
  const auto expected = rotated<float>(x, f, counting(100000, 4), RopeLayout::half);
  REQUIRE(largest_error(doubles_of(out.view()), expected) < tolerance<float>());
}

TEST_CASE("RoPE: strided views, in place, and one token give the same bits", "[position]") {
  for (RopeLayout layout : kLayouts) {
    const RopeTable<float> table(rope_frequencies(40), layout, 64);
    const auto x = even_values<float, 4>({2, 3, 50, 48}, 9);
    Tensor<float, 4> expected(x.shape());
    apply_rope(table, x, expected, 5);

    Tensor<float, 4> by_token({2, 50, 3, 48});  // [B, N, H, D]
    const auto view = by_token.view().transpose(1, 2);
    for (Index b = 0; b < 2; ++b)
      for (Index h = 0; h < 3; ++h)
        for (Index n = 0; n < 50; ++n)
          for (Index d = 0; d < 48; ++d) view(b, h, n, d) = x(b, h, n, d);
    apply_rope(table, view, view, 5);
    REQUIRE(doubles_of(view) == doubles_of(expected.view()));

    Tensor<float, 3> step({2, 3, 48});
    for (Index n : {0, 17, 49}) {
      apply_rope(table, x.view().select(2, n), step, 5 + n);
      REQUIRE(doubles_of(step.view()) == doubles_of(expected.view().select(2, n)));
    }
  }
}

TEST_CASE("RoPE: given positions", "[position]") {
  const RopeTable<float> table(rope_frequencies(16), RopeLayout::half, 40, 10);
  const auto x = even_values<float, 4>({2, 2, 4, 16}, 1);
  const std::vector<std::int32_t> positions = {49, 10, 11, 11, 30, 12, 20, 10};
  Tensor<float, 4> out(x.shape());
  apply_rope(table, x, out, view_of(positions, std::array<Index, 2>{2, 4}));
  for (Index b = 0; b < 2; ++b)
    for (Index n = 0; n < 4; ++n) {
      Tensor<float, 3> row({2, 2, 16});
      const Index at = positions[static_cast<std::size_t>(4 * b + n)];
      apply_rope(table, x.view().select(2, n), row, at);
      REQUIRE(doubles_of(out.view().select(2, n).select(0, b)) ==
              doubles_of(row.view().select(0, b)));
    }
}

TEST_CASE("RoPE: real-valued positions", "[position]") {
  const RopeFrequencies f = rope_frequencies(16);
  const std::vector<double> times = {0.25, 17.5, 3600.125};
  const RopeTable<double> table(f, RopeLayout::interleaved, view_of(times));
  const auto x = even_values<double, 4>({1, 1, 3, 16}, 2);
  Tensor<double, 4> out(x.shape());
  apply_rope(table, x, out, 0);
  const auto expected = rotated<double>(x, f, times, RopeLayout::interleaved);
  REQUIRE(largest_error(doubles_of(out.view()), expected) < 1e-14);
}

TEST_CASE("RoPE: products depend on the distance, lengths are kept", "[position]") {
  const auto q = even_values<double, 3>({1, 1, 32}, 4), k = even_values<double, 3>({1, 1, 32}, 5);
  const auto dot = [](const Tensor<double, 3>& a, const Tensor<double, 3>& b) {
    double sum = 0;
    for (Index d = 0; d < 32; ++d) sum += a(0, 0, d) * b(0, 0, d);
    return sum;
  };
  for (RopeLayout layout : kLayouts) {
    const RopeTable<double> table(rope_frequencies(32), layout, 600);
    const auto product = [&](Index m, Index n) {
      Tensor<double, 3> a(q.shape()), b(k.shape());
      apply_rope(table, q, a, m);
      apply_rope(table, k, b, n);
      REQUIRE(dot(a, a) == Approx(dot(q, q)).epsilon(1e-13));
      return dot(a, b);
    };
    REQUIRE(product(0, 0) == Approx(dot(q, k)).epsilon(1e-13));
    REQUIRE(product(9, 4) == Approx(product(505, 500)).epsilon(1e-12));
    REQUIRE(product(3, 590) == Approx(product(10, 597)).epsilon(1e-12));
  }
}

TEST_CASE("RoPE: threads change no bit", "[position]") {
  const RopeTable<float> table(rope_frequencies(24), RopeLayout::half, 200);
  const auto x = even_values<float, 4>({2, 3, 200, 24}, 1);
  Tensor<float, 4> one(x.shape()), three(x.shape());
  auto pool = fresh_threads(3);
  apply_rope(table, x, one, 0);
  apply_rope(table, x, three, 0, Context(pool));
  REQUIRE(doubles_of(three.view()) == doubles_of(one.view()));
}

TEST_CASE("RoPE refuses wrong arguments and writes nothing", "[position][errors]") {
  const RopeTable<float> table(rope_frequencies(8), RopeLayout::half, 10, 100);
  const auto x = even_values<float, 4>({1, 2, 4, 8}, 1);
  Poisoned<float, 4> out(x.shape());
  const auto untouched = [&] { return std::isnan(out.view()(0, 0, 0, 0)); };
  REQUIRE(contains(message_of([&] { apply_rope(table, x, out.view(), 99); }),
                   "positions [99, 103) leave the table's [100, 110)"));
  REQUIRE(contains(message_of([&] { apply_rope(table, x, out.view(), 107); }), "[107, 111)"));
  const std::vector<std::int32_t> positions = {100, 101, 102, 110};
  const auto given = view_of(positions, std::array<Index, 2>{1, 4});
  REQUIRE(contains(message_of([&] { apply_rope(table, x, out.view(), given); }), "[110, 111)"));
  REQUIRE(contains(message_of([&] { apply_rope(table, x, out.view(), given.slice(1, 0, 3)); }),
                   "positions are [1, 3], x is [1, 2, 4, 8]"));
  REQUIRE(contains(message_of([&] { apply_rope(table, x, out.view().slice(2, 0, 3), 100); }),
                   "out is [1, 2, 3, 8], x is [1, 2, 4, 8]"));
  const auto narrow = x.view().slice(3, 0, 6);
  REQUIRE(contains(message_of([&] { apply_rope(table, narrow, out.view().slice(3, 0, 6), 100); }),
                   "x has 6 channels, the table turns 8"));
  const auto across = x.view().transpose(2, 3);
  REQUIRE(contains(message_of([&] {
                     apply_rope(RopeTable<float>(rope_frequencies(4), RopeLayout::half, 8), across,
                                out.view().transpose(2, 3), 0);
                   }),
                   "must be contiguous"));
  REQUIRE(untouched());
  REQUIRE(contains(message_of([] { RopeTable<float>(RopeFrequencies{}, RopeLayout::half, 4); }),
                   "no frequencies"));
}

TEST_CASE("RoPE of an empty sequence is empty", "[position]") {
  const RopeTable<float> table(rope_frequencies(8), RopeLayout::half, 0);
  Tensor<float, 4> x({1, 2, 0, 8});
  REQUIRE_NOTHROW(apply_rope(table, x, x, 0));
}
