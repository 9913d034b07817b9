#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/softmax/score.hpp>

#include <cmath>

using namespace weft;

namespace {

/// Applies a score to the logits s_j = j / 8 - 1 of one row, in vectors that start anywhere.
template <class T, class S>
std::vector<double> apply(const S& score, const Row& row, Index start) {
  constexpr Index W = kWidth<T>;
  std::vector<double> out(static_cast<std::size_t>(row.keys), NAN);
  for (Index j0 = start; j0 < row.keys; j0 += W) {
    T lanes[W];
    for (Index l = 0; l < W; ++l) lanes[l] = static_cast<T>(j0 + l) / 8 - 1;
    score(Vec<T>::load_unaligned(lanes), row, j0).store_unaligned(lanes);
    for (Index l = 0; l < std::min(W, row.keys - j0); ++l) {
      out[static_cast<std::size_t>(j0 + l)] = static_cast<double>(lanes[l]);
    }
  }
  return out;
}

/// Checks a score in both lane types against f(s, j) in double.
template <class S, class F>
void check_score(const S& score, const Row& row, F f) {
  const auto check = [&](auto type, double tolerance) {
    for (const Index start : {0, 1, 5}) {
      const auto got = apply<decltype(type)>(score, row, start);
      for (Index j = start; j < row.keys; ++j) {
        const double want = f(static_cast<double>(j) / 8 - 1, j);
        const double have = got[static_cast<std::size_t>(j)];
        if (have != want && !(std::abs(have - want) <= tolerance * (1 + std::abs(want)))) {
          FAIL("key " << j << ": " << have << ", expected " << want);
        }
      }
    }
  };
  check(float{}, 4e-7);
  check(double{}, 4e-15);
}

constexpr Row kRow{1, 2, 3, 5, 41};  // batch 1, head 2, query 3 of 5, 41 keys: position 39

}  // namespace

TEST_CASE("scores agree with their formulas", "[softmax]") {
  check_score(NoScore{}, kRow, [](double s, Index) { return s; });
  for (const double cap : {0.5, 2.0, 50.0}) {
    check_score(SoftCap{cap}, kRow, [&](double s, Index) { return cap * std::tanh(s / cap); });
  }
  const std::vector<float> slopes{0.5f, 0.25f, 0.125f};
  check_score(Alibi{view_of(slopes)}, kRow,
              [](double s, Index j) { return s - 0.125 * std::abs(39 - static_cast<double>(j)); });
  // The chain applies the first one first.
  check_score(Chain{SoftCap{2}, Alibi{view_of(slopes)}}, kRow, [](double s, Index j) {
    return 2 * std::tanh(s / 2) - 0.125 * std::abs(39 - static_cast<double>(j));
  });
}

TEST_CASE("additive bias: every broadcast; -inf hides", "[softmax]") {
  auto bias = even_values<float, 4>({2, 3, 5, 41}, 2);
  const float hidden = -std::numeric_limits<float>::infinity();
  for (Index i = 0; i < bias.size(); i += 7) bias.data()[i] = hidden;
  for (int axes = 0; axes < 16; ++axes) {
    View<const float, 4> view = bias.view();
    for (std::size_t axis = 0; axis < 4; ++axis) {
      if ((axes >> axis & 1) != 0) view = view.slice(axis, 0, 1);
    }
    const AdditiveBias score{view};
    score.check(2, 3, 5, 41);
    const auto full = view.broadcast({2, 3, 5, 41});
    check_score(score, kRow, [&](double s, Index j) { return s + double{full(1, 2, 3, j)}; });
  }
  // A hidden key stays hidden when its logit is NaN or infinite.
  Tensor<float, 4> one({1, 1, 1, 1});
  one(0, 0, 0, 0) = hidden;
  const AdditiveBias hide{std::as_const(one).view()};
  for (const float s : {NAN, INFINITY, -INFINITY}) {
    CHECK(hide(Vec<float>(s), kRow, 0).get(0) == hidden);
  }
  CHECK(contains(message_of([&] { AdditiveBias{std::as_const(bias).view()}.check(2, 3, 4, 41); }),
                 "axis 2"));
}

TEST_CASE("scores say where their numbers lie", "[softmax]") {
  const auto table = even_values<float, 4>({1, 3, 5, 41}, 2);
  const AdditiveBias bias{table.view()};
  const ReadRange all = bias.reads(kRow, 8, 24);
  CHECK(all.first == table.view().pointer(0, 2, 3, 8));
  CHECK(all.bytes == 16 * Index{sizeof(float)});
  // A chain knows of them whichever of its scores they belong to; with one for all keys, or with
  // gaps in between, there is nothing to fetch.
  CHECK(Chain{SoftCap{2}, bias}.reads(kRow, 8, 24).first == all.first);
  CHECK(Chain{bias, SoftCap{2}}.reads(kRow, 8, 24).bytes == all.bytes);
  CHECK(AdditiveBias{table.view().slice(3, 0, 1)}.reads(kRow, 8, 24).bytes == 0);
  CHECK(AdditiveBias{table.view().transpose(2, 3)}.reads({0, 0, 3, 41, 5}, 0, 5).bytes == 0);
}

TEST_CASE("relative bias: one number per distance", "[softmax]") {
  // 5 queries, 41 keys: distances -40 .. 4.
  const auto table = even_values<float, 2>({3, 45}, 3);
  const RelativeBias score{table.view(), 40};
  score.check(2, 3, 5, 41);
  check_score(score, kRow, [&](double s, Index j) { return s + double{table(2, j - 39 + 40)}; });
  const auto refusal = [&](Index zero, Index heads, Index queries, Index keys) {
    return message_of([&] { RelativeBias{table.view(), zero}.check(1, heads, queries, keys); });
  };
  CHECK(contains(refusal(40, 2, 5, 41), "3 rows for 2 query heads"));
  CHECK(contains(refusal(39, 3, 5, 41), "distances from -40 to 4"));
  CHECK(contains(refusal(40, 3, 6, 41), "distances from -40 to 5"));
}

TEST_CASE("scores refuse impossible parameters", "[softmax]") {
  for (const double cap : {0.0, -1.0, HUGE_VAL, std::nan("")}) {
    CHECK(contains(message_of([&] { SoftCap{cap}.check(1, 1, 1, 1); }), "SoftCap: cap must be"));
  }
  const std::vector<float> slopes{1, 2};
  CHECK(contains(message_of([&] { Alibi{view_of(slopes)}.check(1, 3, 1, 1); }),
                 "2 slopes for 3 query heads"));
  CHECK(contains(message_of([&] { Chain{NoScore{}, SoftCap{0}}.check(1, 1, 1, 1); }), "SoftCap"));
}
