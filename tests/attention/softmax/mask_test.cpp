#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/block_diagonal.hpp>
#include <weft/attention/softmax/mask.hpp>

#include <random>
#include <vector>

using namespace weft;

namespace {

/// What must hold for every mask: the classification of a tile agrees with asking each element, and
/// the vector form agrees with the element form, whatever the alignment of the vector.
template <class M>
void check_mask(const M& mask, Index queries, Index keys, std::mt19937& random) {
  const auto below = [&](Index n) {
    return static_cast<Index>(random() % static_cast<unsigned>(n));
  };
  for (int trial = 0; trial < 200; ++trial) {
    const Range i{below(queries), 0}, j{below(keys), 0};
    const Tile tile{0,
                    {i.first, i.first + below(queries - i.first)},
                    {j.first, j.first + below(keys - j.first)},
                    queries,
                    keys};
    bool any = false, all = true;
    for (Index q = tile.queries.first; q <= tile.queries.last; ++q) {
      for (Index k = tile.keys.first; k <= tile.keys.last; ++k) {
        const bool seen = mask.visible(Row{0, 0, q, queries, keys}, k);
        any = any || seen;
        all = all && seen;
      }
    }
    const Coverage coverage = mask.classify(tile);
    CHECK((coverage != Coverage::empty || !any));
    CHECK((coverage != Coverage::full || all));
  }
}

template <class T, class M>
void check_lanes(const M& mask, Index queries, Index keys) {
  constexpr Index W = kWidth<T>;
  for (Index q = 0; q < queries; ++q) {
    const Row row{0, 0, q, queries, keys};
    for (Index j0 = 0; j0 < keys; ++j0) {
      const Lanes<T> lanes = detail::mask_lanes<T, DefaultArch>(mask, row, j0);
      T flags[W];
      xsimd::select(lanes, Vec<T>(T(1)), Vec<T>(T(0))).store_unaligned(flags);
      for (Index l = 0; l < std::min(W, keys - j0); ++l) {
        if ((flags[l] == T(1)) != mask.visible(row, j0 + l)) {
          FAIL("query " << q << " key " << j0 + l);
        }
      }
    }
  }
}

template <class M>
void check_all(const M& mask) {
  std::mt19937 random(1);
  for (const auto& [queries, keys] : {std::pair<Index, Index>{23, 23}, {7, 40}, {40, 7}, {1, 33}}) {
    INFO(queries << " queries, " << keys << " keys");
    check_mask(mask, queries, keys, random);
    check_lanes<float>(mask, queries, keys);
    check_lanes<double>(mask, queries, keys);
  }
}

constexpr Causal kBottomRight{Align::bottom_right};

}  // namespace

TEST_CASE("masks: tiles, vectors and elements agree", "[softmax]") {
  check_all(NoMask{});
  check_all(Causal{Align::bottom_right});
  check_all(Causal{Align::top_left});
  for (const Align align : {Align::bottom_right, Align::top_left}) {
    for (const Index left : {-1, 0, 3, 100}) {
      for (const Index right : {-1, 0, 2, 100}) check_all(Window{left, right, align});
    }
  }
  for (const Index count : {0, 1, 5, 100}) check_all(FirstKeys{count});
  check_all(And{kBottomRight, Or{Window{2, 0}, FirstKeys{3}}});
  check_all(Or{And{FirstKeys{6}, Window{-1, 3}}, Window{0, 0}});
}

TEST_CASE("masks: tiles that are decided are recognised", "[softmax]") {
  // Without this a mask that always answers partial would pass: right, but slow.
  const auto tile = [](Index q0, Index q1, Index k0, Index k1) {
    return Tile{0, {q0, q1}, {k0, k1}, 100, 100};
  };
  CHECK(kBottomRight.classify(tile(0, 9, 10, 19)) == Coverage::empty);
  CHECK(kBottomRight.classify(tile(10, 19, 0, 10)) == Coverage::full);
  CHECK(kBottomRight.classify(tile(10, 19, 0, 11)) == Coverage::partial);
  CHECK(Window{5, 0}.classify(tile(50, 59, 0, 44)) == Coverage::empty);
  CHECK(Window{5, 0}.classify(tile(50, 53, 48, 50)) == Coverage::full);
  CHECK(FirstKeys{8}.classify(tile(0, 9, 8, 19)) == Coverage::empty);
  CHECK(FirstKeys{8}.classify(tile(0, 9, 0, 7)) == Coverage::full);
  CHECK(And{kBottomRight, FirstKeys{8}}.classify(tile(0, 99, 8, 20)) == Coverage::empty);
  CHECK(Or{kBottomRight, FirstKeys{8}}.classify(tile(0, 9, 0, 7)) == Coverage::full);
}

TEST_CASE("masks: elements by hand", "[softmax]") {
  const Row last_of_three{0, 0, 2, 3, 8};
  CHECK(kBottomRight.visible(last_of_three, 7));
  CHECK_FALSE(Causal{Align::top_left}.visible(last_of_three, 3));
  CHECK(Causal{Align::top_left}.visible(last_of_three, 2));
  const Row first_of_three{0, 0, 0, 3, 8};
  CHECK(kBottomRight.visible(first_of_three, 5));
  CHECK_FALSE(kBottomRight.visible(first_of_three, 6));
  CHECK(Window{2, 1}.visible(first_of_three, 3));
  CHECK_FALSE(Window{2, 1}.visible(first_of_three, 2));
  CHECK(Window{2, 1}.visible(first_of_three, 6));
  CHECK_FALSE(Window{2, 1}.visible(first_of_three, 7));
}

TEST_CASE("masks: which are causal", "[softmax]") {
  CHECK(kBottomRight.is_causal());
  CHECK_FALSE(Causal{Align::top_left}.is_causal());
  CHECK(Window{5, 0}.is_causal());
  CHECK_FALSE(Window{5, 1}.is_causal());
  CHECK_FALSE(Window{}.is_causal());
  CHECK(And{kBottomRight, FirstKeys{3}}.is_causal());
  CHECK(And{FirstKeys{3}, kBottomRight}.is_causal());
  CHECK_FALSE(Or{kBottomRight, FirstKeys{3}}.is_causal());
  CHECK(Or{kBottomRight, Window{5, 0}}.is_causal());
}

TEST_CASE("boolean masks: every broadcast, any strides", "[softmax]") {
  const auto numbers = even_values<float, 4>({2, 3, 4, 37}, 1);
  Tensor<std::uint8_t, 4> bytes({2, 3, 4, 37});
  for (Index i = 0; i < bytes.size(); ++i) bytes.data()[i] = numbers.data()[i] < 0 ? 0 : 200;
  const View<const std::uint8_t, 4> whole = std::as_const(bytes).view();
  for (int axes = 0; axes < 16; ++axes) {
    auto view = whole;
    for (std::size_t axis = 0; axis < 4; ++axis) {
      if ((axes >> axis & 1) != 0) view = view.slice(axis, 0, 1);
    }
    const BoolMask mask(view);
    mask.check(2, 3, 4, 37);
    const View<const std::uint8_t, 4> full = view.broadcast({2, 3, 4, 37});
    check_lanes<float>(mask, 4, 37);
    for (Index j = 0; j < 37; ++j) {
      CHECK(mask.visible(Row{1, 2, 3, 4, 37}, j) == (full(1, 2, 3, j) != 0));
    }
  }
  // Queries and keys exchanged: the keys are no longer contiguous.
  const BoolMask turned(whole.transpose(2, 3));
  check_lanes<double>(turned, 37, 4);
  CHECK(contains(message_of([&] { BoolMask(whole).check(2, 3, 5, 37); }), "axis 2"));
  CHECK(contains(message_of([&] { BoolMask(whole).check(2, 3, 4, 36); }), "axis 3"));
}

TEST_CASE("masks: blocks on the diagonal", "[softmax]") {
  for (const Index size : {1, 3, 8, 100}) check_all(BlockDiagonal{size});
}
