#include "reference/position.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/position/rope2d.hpp>
#include <weft/position/rope_time.hpp>

// softmax/rope2d_croco, softmax/rope2d_fit, softmax/rope2d_sam2, softmax/time_rope

using namespace weft;

namespace {

using Row = std::vector<double>;

/// Each half of a row by reference::rope.
Row turned_halves(const Row& row, double first, double second, double base, bool interleaved) {
  const auto half = static_cast<std::ptrdiff_t>(row.size() / 2);
  Row frequencies;
  for (std::ptrdiff_t i = 0; i < half / 2; ++i)
    frequencies.push_back(std::pow(base, -2 * static_cast<double>(i) / static_cast<double>(half)));
  Row out = reference::rope({row.begin(), row.begin() + half}, frequencies, first, 1, interleaved);
  const Row rest =
      reference::rope({row.begin() + half, row.end()}, frequencies, second, 1, interleaved);
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

template <class T>
struct Setup {
  explicit Setup(Index D, Index B = 2)
      : x(even_values<T, 4>({B, 3, 15, D}, 1)), at(grid_positions(5, 3)) {}

  std::vector<double> run(const AxialRope<T>& rope, const Context& ctx = Context()) const {
    const Poisoned<T, 4> out(x.shape());
    apply_rope2d(rope, x, out.view(), std::as_const(at.y).view(), std::as_const(at.x).view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  std::vector<double> expected(double base, bool interleaved, bool x_first) const {
    std::vector<double> all;
    for (Index b = 0; b < x.extent(0); ++b)
      for (Index h = 0; h < 3; ++h)
        for (Index n = 0; n < 15; ++n) {
          const auto y = static_cast<double>(n / 3), column = static_cast<double>(n % 3);
          const Row row =
              turned_halves(doubles_of(x.view().select(0, b).select(0, h).select(0, n)),
                            x_first ? column : y, x_first ? y : column, base, interleaved);
          all.insert(all.end(), row.begin(), row.end());
        }
    return all;
  }

  Tensor<T, 4> x;
  GridPositions at;
};

template <class T>
void check_conventions(double tolerance) {
  for (const Index D : {4, 12, 40, 64}) {
    const Setup<T> s(D);
    CHECK(largest_error(s.run(croco_rope<T>(D, 5)), s.expected(100, false, false)) < tolerance);
    CHECK(largest_error(s.run(fit_rope<T>(D, 5)), s.expected(1e4, true, false)) < tolerance);
    CHECK(largest_error(s.run(sam2_rope<T>(D, 5)), s.expected(1e4, true, true)) < tolerance);
  }
}

double dot(const Row& a, const Row& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

TEST_CASE("RoPE of two axes: the three conventions agree with the reference", "[position]") {
  check_conventions<double>(1e-14);
  check_conventions<float>(1e-6);
}

TEST_CASE("RoPE of two axes: scores depend on the offsets; x = 0 leaves its half", "[position]") {
  const auto rope = croco_rope<double>(16, 12);
  const auto turned = [&](std::uint64_t seed, std::int32_t y, std::int32_t x) {
    auto row = even_values<double, 4>({1, 1, 1, 16}, seed);
    Tensor<std::int32_t, 2> at_y({1, 1}), at_x({1, 1});
    at_y(0, 0) = y, at_x(0, 0) = x;
    apply_rope2d(rope, row, row, std::as_const(at_y).view(), std::as_const(at_x).view());
    return doubles_of(row.view());
  };
  CHECK(dot(turned(1, 7, 2), turned(2, 3, 5)) ==
        Approx(dot(turned(1, 10, 8), turned(2, 6, 11))).epsilon(1e-12));
  const Row whole = doubles_of(even_values<double, 4>({1, 1, 1, 16}, 1).view());
  const Row at_zero = turned(1, 5, 0);
  CHECK((Row(at_zero.begin() + 8, at_zero.end()) == Row(whole.begin() + 8, whole.end())));
}

TEST_CASE("RoPE of two axes: repeated grids, shared positions, threads, empty", "[position]") {
  const auto twice = grid_positions(2, 3, 2);
  for (Index t = 0; t < 12; ++t) {
    CHECK(twice.y(0, t) == t % 6 / 3);
    CHECK(twice.x(0, t) == t % 3);
  }
  const Setup<float> s(24), none(24, 0);
  const auto rope = sam2_rope<float>(24, 5);
  CHECK(same_for_any_threads([&](const Context& ctx) { return s.run(rope, ctx); }));
  CHECK(none.run(rope).empty());
}

TEST_CASE("RoPE of two axes: FiT's factors", "[position]") {
  CHECK(fit_factor(8, 16) == 1);
  CHECK(fit_factor(40, 16) == 2.5);
  CHECK(fit_magnitude(8, 16) == 1);  // twice the length is no longer than the original
  CHECK(fit_magnitude(32, 16) == Approx(std::sqrt(std::log(64.0) / std::log(16.0))));
  const RopeFrequencies plain = rope_frequencies(8);
  RopeFrequencies louder = plain;
  louder.magnitude = 2;
  const Setup<double> s(16);
  auto doubled = s.run(fit_rope<double>(plain, plain, 5));
  for (double& value : doubled) value *= 2;
  CHECK(largest_error(s.run(fit_rope<double>(louder, louder, 5)), doubled) < 1e-14);
}

TEST_CASE("RoPE of two axes refuses what does not fit", "[position][errors]") {
  CHECK(contains(message_of([] { croco_rope(6, 4); }), "6 channels"));
  CHECK(contains(message_of([] { sam2_rope(0, 4); }), "sam2_rope: 0 channels"));
  CHECK(contains(message_of([] { fit_factor(0, 16); }), "length is 0"));
  CHECK(contains(message_of([] { fit_magnitude(3, 1); }), "original context 1"));
  CHECK(contains(message_of([] { grid_positions(0, 3); }), "grids of 0 x 3"));
  CHECK(contains(message_of([] {
                   AxialRope<float>(rope_frequencies(4), rope_frequencies(8), RopeLayout::half,
                                    GridAxis::y, 3);
                 }),
                 "4 channels along y, 8 along x"));
  const Setup<float> s(16);
  CHECK(contains(message_of([&] { s.run(croco_rope<float>(12, 5)); }), "x has 16 channels"));
  CHECK(contains(message_of([&] { s.run(croco_rope<float>(16, 4)); }), "leave the table"));
}

namespace {

/// Times in seconds since 1970, half a second to some minutes apart.
Tensor<double, 2> times_of(Index B, Index N, double shift) {
  auto times = even_values<double, 2>({B, N}, 6, 0, 500);
  for (double& t : times.span()) t += 1.7e9 + shift;
  return times;
}

std::vector<double> turn_by_time(const Tensor<float, 4>& x, double shift,
                                 const Context& ctx = Context()) {
  const auto times = times_of(x.extent(0), x.extent(2), shift);
  Tensor<double, 1> reference({x.extent(0)});
  for (Index b = 0; b < x.extent(0); ++b) reference(b) = 1.7e9 + shift;
  Tensor<float, 4> out(x.shape());
  TimeRope<float>(rope_frequencies(8), RopeLayout::half, times.view(), reference.view())
      .apply(x, out, ctx);
  return doubles_of(out.view());
}

}  // namespace

TEST_CASE("RoPE by time agrees with the reference; common shifts do not matter", "[position]") {
  const auto x = even_values<float, 4>({2, 3, 7, 10}, 1);
  const auto times = times_of(2, 7, 0);
  std::vector<double> frequencies, expected;
  for (const double i : {0.0, 1.0, 2.0, 3.0}) frequencies.push_back(std::pow(1e4, -2 * i / 8));
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < 3; ++h)
      for (Index n = 0; n < 7; ++n) {
        const auto row =
            reference::rope(doubles_of(x.view().select(0, b).select(0, h).select(0, n)),
                            frequencies, times(b, n) - 1.7e9, 1, false);
        expected.insert(expected.end(), row.begin(), row.end());
      }
  CHECK(largest_error(turn_by_time(x, 0), expected) < 1e-6);
  CHECK((turn_by_time(x, 0) == turn_by_time(x, 4096)));
  CHECK(same_for_any_threads([&](const Context& ctx) { return turn_by_time(x, 0, ctx); }));
  CHECK(turn_by_time(Tensor<float, 4>({2, 3, 0, 10}), 0).empty());
}

TEST_CASE("RoPE by time refuses what does not fit", "[position][errors]") {
  auto times = times_of(2, 3, 0);
  const auto refusal = [&](Index references) {
    return message_of([&] {
      TimeRope<float>(rope_frequencies(4), RopeLayout::half, times.view(),
                      Tensor<double, 1>({references}).view());
    });
  };
  CHECK(contains(refusal(3), "3 reference times for 2 sequences"));
  times(1, 2) = HUGE_VAL;
  CHECK(contains(refusal(2), "time 2 of sequence 1"));
  const TimeRope<float> rope(rope_frequencies(4), RopeLayout::half, times_of(2, 3, 0).view(),
                             Tensor<double, 1>({2}).view());
  Tensor<float, 4> x({2, 1, 4, 4});
  CHECK(contains(message_of([&] { rope.apply(x, x); }), "positions are"));
}
