#include <weft/core/pack.hpp>

#include "support/catch.hpp"

#include <tuple>
#include <vector>

using namespace weft;
using namespace weft::detail;

namespace {

using A = DefaultArch;

/// Register type, storage type.
using Pairs = std::tuple<std::pair<float, float>, std::pair<float, bf16>, std::pair<float, fp16>,
                         std::pair<double, double>, std::pair<double, float>>;

/// Distinct values that every storage type holds exactly.
template <class S>
std::vector<S> numbers(Index count) {
  std::vector<S> out(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = S(static_cast<float>(i % 251) - 125.f);
  return out;
}

struct Strides {
  Index k, n;
};

/// The three ways to lie in memory: columns adjacent, depth adjacent, neither.
std::vector<Strides> layouts(Index depth, Index cols) {
  return {{cols + 3, 1}, {1, depth + 5}, {2, 2 * depth + 1}};
}

constexpr float kGuard = -777.f;

}  // namespace

TEMPLATE_LIST_TEST_CASE("a packed panel is depth-major and padded with zeros", "[pack]", Pairs) {
  using T = typename TestType::first_type;
  using S = typename TestType::second_type;
  const Index depth = GENERATE(1, 2, 7, 16, 31, 65);
  const Index width = GENERATE(1, 2, 6, 12, 14, 32);
  const Index count = GENERATE_COPY(Index{0}, width / 2, width);
  const auto source = numbers<S>((2 * depth + 6) * (width + 4));
  for (const Strides stride : layouts(depth, width)) {
    const Index size = panel_size<T, A>(depth, width);
    std::vector<T> panel(static_cast<std::size_t>(size + 8), T(kGuard));
    pack_panel<A>(source.data(), stride.k, stride.n, depth, count, width, panel.data());
    Index wrong = 0;
    for (Index k = 0; k < depth; ++k)
      for (Index n = 0; n < width; ++n) {
        const auto from = static_cast<std::size_t>(k * stride.k + n * stride.n);
        const T expected = n < count ? static_cast<T>(source[from]) : T(0);
        wrong += panel[static_cast<std::size_t>(k * width + n)] != expected;
      }
    INFO("depth " << depth << " width " << width << " count " << count << " strides " << stride.k
                  << " " << stride.n);
    CHECK(wrong == 0);
    for (Index i = size; i < size + 8; ++i) CHECK(panel[static_cast<std::size_t>(i)] == T(kGuard));
  }
}

TEMPLATE_LIST_TEST_CASE("all columns of B become panels of one register tile", "[pack]", Pairs) {
  using T = typename TestType::first_type;
  using S = typename TestType::second_type;
  constexpr Index NR = kTileCols<T, A>;
  const Index depth = GENERATE(1, 5, 33);
  const Index cols = GENERATE(1, 31, 32, 33, 97);
  const auto source = numbers<S>((2 * depth + 6) * (cols + 4));
  for (const Strides stride : layouts(depth, cols)) {
    std::vector<T> panels(static_cast<std::size_t>(ceil_div(cols, NR) * depth * NR), T(kGuard));
    pack_cols<A>(source.data(), stride.k, stride.n, depth, cols, panels.data());
    Index wrong = 0;
    for (Index k = 0; k < depth; ++k)
      for (Index n = 0; n < round_up(cols, NR); ++n) {
        const auto from = static_cast<std::size_t>(k * stride.k + n * stride.n);
        const auto to = static_cast<std::size_t>(n / NR * depth * NR + k * NR + n % NR);
        wrong += panels[to] != (n < cols ? static_cast<T>(source[from]) : T(0));
      }
    INFO("depth " << depth << " cols " << cols);
    CHECK(wrong == 0);
  }
}

TEST_CASE("rows of A become panels of equal height but the last", "[pack]") {
  const Index rows = 29, depth = 19, height = 12;
  const auto source = numbers<float>(rows * depth);
  const Index stride = panel_size<float, A>(depth, height);
  std::vector<float> panels(static_cast<std::size_t>(3 * stride));
  pack_rows<A>(source.data(), depth, 1, rows, depth, height, panels.data(), stride);
  const Index heights[] = {12, 12, 6};  // 29 = 12 + 12 + 5, and 5 rows run as a tile of 6
  for (Index m = 0; m < rows; ++m)
    for (Index k = 0; k < depth; ++k) {
      const Index tile = m / height;
      const Index at = tile * stride + k * heights[tile] + m % height;
      REQUIRE(panels[static_cast<std::size_t>(at)] == source[static_cast<std::size_t>(m * depth + k)]);
    }
}
