#include "support/catch.hpp"
#include <weft/core/pack.hpp>

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
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = S(static_cast<float>(i % 251) - 125.f);
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

TEMPLATE_LIST_TEST_CASE("all columns of B become panels of one register tile", "[pack]", Pairs) {
  using T = typename TestType::first_type;
  using S = typename TestType::second_type;
  constexpr Index NR = kTileCols<T, A>;
  const Index depth = GENERATE(1, 5, 16, 33);
  const Index cols = GENERATE(1, 7, 31, 32, 33, 97);
  const auto source = numbers<S>((2 * depth + 6) * (cols + 4));
  for (const Strides stride : layouts(depth, cols)) {
    const Index size = round_up(cols, NR) * depth;
    std::vector<T> panels(static_cast<std::size_t>(size + 8), T(kGuard));
    pack_cols<A>(source.data(), stride.k, stride.n, depth, cols, panels.data());
    Index wrong = 0;
    for (Index k = 0; k < depth; ++k)
      for (Index n = 0; n < round_up(cols, NR); ++n) {
        const auto from = static_cast<std::size_t>(k * stride.k + n * stride.n);
        const auto to = static_cast<std::size_t>(n / NR * depth * NR + k * NR + n % NR);
        wrong += panels[to] != (n < cols ? static_cast<T>(source[from]) : T(0));
      }
    INFO("depth " << depth << " cols " << cols << " strides " << stride.k << " " << stride.n);
    CHECK(wrong == 0);
    for (Index i = size; i < size + 8; ++i) CHECK(panels[static_cast<std::size_t>(i)] == T(kGuard));
  }
}

TEMPLATE_LIST_TEST_CASE("rows of A become rows of the register type", "[pack]", Pairs) {
  using T = typename TestType::first_type;
  using S = typename TestType::second_type;
  constexpr Index W = kWidth<T, A>;
  const Index depth = GENERATE(1, 7, 16, 31, 65);
  const Index rows = GENERATE(1, 2, 6, 17);
  const Index ld = round_up(depth, W) + W;
  const auto source = numbers<S>((2 * depth + 6) * (rows + 4));
  for (const Strides stride : layouts(depth, rows)) {
    std::vector<T> packed(static_cast<std::size_t>(rows * ld), T(kGuard));
    pack_rows<A>(source.data(), stride.n, stride.k, rows, depth, packed.data(), ld);
    Index wrong = 0;
    for (Index r = 0; r < rows; ++r)
      for (Index k = 0; k < ld; ++k) {
        const auto from = static_cast<std::size_t>(r * stride.n + k * stride.k);
        const T wanted = k < depth                ? static_cast<T>(source[from])
                         : k < round_up(depth, W) ? T(0)
                                                  : T(kGuard);
        wrong += packed[static_cast<std::size_t>(r * ld + k)] != wanted;
      }
    INFO("depth " << depth << " rows " << rows << " strides " << stride.n << " " << stride.k);
    CHECK(wrong == 0);
  }
}

TEST_CASE("steps of transposed rows are multiplied by factors", "[pack]") {
  constexpr Index W = kWidth<float, A>;
  const Index depth = W + 3, rows = 2 * W + 1, ld = 2 * W;
  const auto source = numbers<float>(depth * rows);
  const auto factors = numbers<float>(depth);
  std::vector<float> plain(static_cast<std::size_t>(rows * ld), kGuard), scaled = plain;
  transpose_rows<A>(source.data(), rows, rows, depth, plain.data(), ld);
  transpose_rows<A>(source.data(), rows, rows, depth, scaled.data(), ld, factors.data());
  for (Index r = 0; r < rows; ++r)
    for (Index k = 0; k < ld; ++k) {
      const auto at = static_cast<std::size_t>(r * ld + k);
      const float factor = k < depth ? factors[static_cast<std::size_t>(k)] : 1.f;
      REQUIRE(scaled[at] == plain[at] * factor);
    }
}

TEST_CASE("a narrow panel is as wide as it is told", "[pack]") {
  constexpr Index W = kWidth<float, A>;
  const Index depth = 21, cols = W - 1;
  const auto source = numbers<float>(depth * (cols + 8) * 2);
  for (const Strides stride : {Strides{cols + 3, 1}, Strides{1, depth + 5}, Strides{2, 43}}) {
    std::vector<float> panel(static_cast<std::size_t>(depth * W + 1), kGuard);
    pack_panel<A>(source.data(), stride.k, stride.n, depth, cols, panel.data(), W);
    for (Index k = 0; k < depth; ++k)
      for (Index n = 0; n < W; ++n)
        REQUIRE(panel[static_cast<std::size_t>(k * W + n)] ==
                (n < cols ? source[static_cast<std::size_t>(k * stride.k + n * stride.n)] : 0.f));
    CHECK(panel.back() == kGuard);
  }
}
