#include "support/catch.hpp"
#include "support/ulp.hpp"
#include <weft/core/random.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

namespace {

using weft::Philox;

std::vector<float> normals(Philox random, std::size_t n) {
  std::vector<float> out(n);
  random.normal(out);
  return out;
}

// The method of Box and Muller in long double.
long double reference_normal(std::uint32_t a, std::uint32_t b, bool first) {
  const long double u = (a + 0.5L) / 4294967296.L;
  const long double angle = 6.283185307179586476925287L * (b / 4294967296.L);
  return std::sqrt(-2 * std::log(u)) * (first ? std::cos(angle) : std::sin(angle));
}

}  // namespace

static_assert(std::uniform_random_bit_generator<Philox>);

// The answers that accompany the paper's own implementation.
TEST_CASE("philox known answers", "[random]") {
  CHECK(Philox::block({0, 0, 0, 0}, {0, 0}) ==
        Philox::Counter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(Philox::block({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
        Philox::Counter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(Philox::block({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Philox::Counter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("words are those of consecutive counters", "[random]") {
  const std::uint64_t seed = 0x0123456789abcdef, stream = 0xfedcba9876543210;
  Philox random(seed, stream);
  for (std::uint32_t number = 0; number < 3; ++number) {
    const auto block = Philox::block({number, 0, 0x76543210, 0xfedcba98}, {0x89abcdef, 0x01234567});
    for (std::uint32_t word : block) CHECK(random() == word);
  }
  CHECK(random.position() == 12);
  random.seek((std::uint64_t{5} << 34) + 1);
  CHECK(random() == Philox::block({0, 5, 0x76543210, 0xfedcba98}, {0x89abcdef, 0x01234567})[1]);
}

TEST_CASE("a stream does not depend on how it is cut", "[random]") {
  constexpr std::size_t n = 1000;
  Philox whole(7, 3);
  std::vector<float> uniform(n);
  whole.uniform(uniform);
  const std::vector<float> normal = normals(Philox(7, 3), n);

  std::mt19937 cuts(1);
  for (int round = 0; round < 20; ++round) {
    Philox u(7, 3), g(7, 3);
    std::vector<float> got_uniform(n), got_normal(n);
    for (std::size_t at = 0; at < n;) {
      const std::size_t count = std::min<std::size_t>(cuts() % 9, n - at);
      u.uniform(std::span(got_uniform).subspan(at, count));
      g.normal(std::span(got_normal).subspan(at, count));
      at += count;
    }
    CHECK(got_uniform == uniform);
    CHECK(got_normal == normal);
  }
  for (std::size_t at : {0u, 1u, 2u, 3u, 4u, 501u, 998u}) {
    Philox u(7, 3);
    u.seek(at);
    CHECK(u.uniform() == uniform[at]);
    u.seek(at);
    CHECK(u.normal() == normal[at]);
    CHECK(u.position() == at + 1);
  }
}

TEST_CASE("seeds and streams differ", "[random]") {
  const auto base = normals(Philox(1), 100);
  CHECK(normals(Philox(1, 0), 100) == base);
  CHECK(normals(Philox(2), 100) != base);
  CHECK(normals(Philox(1, 1), 100) != base);
  CHECK(normals(Philox(1 + (std::uint64_t{1} << 32)), 100) != base);
  CHECK(normals(Philox(1, std::uint64_t{1} << 32), 100) != base);
}

TEST_CASE("uniform numbers fill [0, 1) evenly", "[random]") {
  constexpr int n = 1 << 18, bins = 64;
  Philox random(2024);
  std::vector<int> counts(bins);
  for (int i = 0; i < n; ++i) {
    const float x = random.uniform();
    const bool inside = x >= 0 && x < 1;
    if (!inside) FAIL(x << " is not in [0, 1)");
    ++counts[static_cast<std::size_t>(x * bins)];
  }
  double chi_square = 0;
  for (int count : counts) chi_square += std::pow(count - n / bins, 2) / (n / bins);
  CHECK(chi_square < 130);  // 63 degrees of freedom: exceeded once in 10^6 seeds
}

TEST_CASE("normal numbers have the moments and tails of the distribution", "[random]") {
  const auto x = normals(Philox(99), 1 << 18);
  const auto n = static_cast<double>(x.size());
  double moments[5] = {}, beyond_two = 0, neighbours = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v{x[i]};
    for (int power = 1; power < 5; ++power) moments[power] += std::pow(v, power) / n;
    beyond_two += std::fabs(v) > 2;
    if (i > 0) neighbours += v * double{x[i - 1]} / n;
  }
  const double five_sigma = 5 / std::sqrt(n);
  CHECK(std::fabs(moments[1]) < five_sigma);
  CHECK(std::fabs(moments[2] - 1) < five_sigma * std::sqrt(2.));
  CHECK(std::fabs(moments[3]) < five_sigma * std::sqrt(15.));
  CHECK(std::fabs(moments[4] - 3) < five_sigma * std::sqrt(96.));
  CHECK(std::fabs(beyond_two / n - 0.0455003) < five_sigma * 0.21);
  CHECK(std::fabs(neighbours) < five_sigma);
}

TEST_CASE("normal numbers are those of Box and Muller, rounded", "[random]") {
  Philox words(5), numbers(5);
  double worst = 0;
  for (int pair = 0; pair < 100'000; ++pair) {
    const std::uint32_t a = words(), b = words();
    worst = std::max(worst, ulp_distance(numbers.normal(), reference_normal(a, b, true)));
    worst = std::max(worst, ulp_distance(numbers.normal(), reference_normal(a, b, false)));
  }
  CHECK(worst < 0.51);
}

TEST_CASE("normal numbers at the edges of the words", "[random]") {
  constexpr std::uint32_t edges[] = {0,          1,          2,          0x1fffffff, 0x20000000,
                                     0x3fffffff, 0x40000000, 0x40000001, 0x5fffffff, 0x60000000,
                                     0x7fffffff, 0x80000000, 0xb504f333, 0xb504f334, 0xc0000000,
                                     0xdfffffff, 0xe0000000, 0xfffffffe, 0xffffffff};
  for (std::uint32_t a : edges)
    for (std::uint32_t b : edges) {
      const weft::detail::NormalPair pair = weft::detail::normal_pair(a, b);
      const auto scale = static_cast<double>(std::sqrt(-2 * std::log((a + 0.5L) / 4294967296.L)));
      CHECK(std::fabs(pair.first - reference_normal(a, b, true)) <= 6e-8 * scale);
      CHECK(std::fabs(pair.second - reference_normal(a, b, false)) <= 6e-8 * scale);
    }
}

// The same on every compiler, processor and instruction set.
TEST_CASE("the first numbers of a stream never change", "[random]") {
  CHECK(Philox(42)() == 0x9ceaf053);
  CHECK(Philox(42).uniform() == 0x1.39d5ep-1f);
  CHECK(normals(Philox(42), 6) == std::vector<float>{-0x1.f0bcb8p-1f, 0x1.8d59dp-3f,
                                                     -0x1.3c51a4p+0f, 0x1.ec8676p+0f,
                                                     -0x1.2bc06p-4f, 0x1.1cf41ep-3f});
}
