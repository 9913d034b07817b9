#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/merge.hpp>

#include <random>

using namespace weft;
using cases::AttentionInputs;
using cases::AttentionShape;

namespace {

constexpr AttentionShape kShape{.B = 2, .Hq = 4, .Hk = 2, .N = 9, .M = 100, .D = 16, .E = 12};

template <class T>
struct Partials {
  Tensor<T, 5> out;
  Tensor<T, 4> lse;

  /// Attention over the keys between each two cuts.
  Partials(const AttentionInputs<T>& in, const std::vector<Index>& cuts)
      : out({std::ssize(cuts) - 1, kShape.B, kShape.Hq, kShape.N, kShape.E}),
        lse({std::ssize(cuts) - 1, kShape.B, kShape.Hq, kShape.N}) {
    for (Index p = 0; p + 1 < std::ssize(cuts); ++p) {
      const Index begin = cuts[static_cast<std::size_t>(p)];
      const Index count = cuts[static_cast<std::size_t>(p) + 1] - begin;
      forward_with_lse(Softmax{}, in.q, in.k.view().slice(2, begin, count),
                       in.v.view().slice(2, begin, count), out.view().select(0, p),
                       lse.view().select(0, p));
    }
  }
};

template <class T>
void check_split(const std::vector<Index>& cuts) {
  const AttentionInputs<T> in(kShape);
  const Partials<T> parts(in, cuts);
  const Poisoned<T, 4> out({kShape.B, kShape.Hq, kShape.N, kShape.E});
  const Poisoned<T, 3> lse({kShape.B, kShape.Hq, kShape.N});
  merge_partials(parts.out, parts.lse, out.view(), lse.view());
  const auto expected = cases::Question(in).answer(kShape);
  const double tolerance = cases::tolerance_of<T>(expected, false);
  CHECK(cases::error_of(doubles_of(out.view()), expected.out) < tolerance);
  CHECK(cases::error_of(doubles_of(lse.view()), expected.lse, 1.0) < tolerance);
  CHECK(out.guards_intact());
  CHECK(lse.guards_intact());
}

}  // namespace

TEST_CASE("merge: any split of the keys gives what no split gives", "[softmax][softmax/merge]") {
  std::mt19937 random(3);
  check_split<double>({0, 100});
  check_split<double>({0, 0, 0, 100, 100});
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<Index> cuts{0, kShape.M};
    for (auto i = random() % 6; i > 0; --i) cuts.push_back(static_cast<Index>(random() % 101));
    std::sort(cuts.begin(), cuts.end());
    check_split<double>(cuts);
    check_split<float>(cuts);
  }
}

TEST_CASE("merge: nothing visible anywhere, and no parts at all", "[softmax]") {
  const AttentionInputs<float> in(kShape);
  for (const auto& cuts : {std::vector<Index>{50}, {50, 50}, {50, 50, 50}}) {
    const Partials<float> parts(in, cuts);
    const Poisoned<float, 4> out({kShape.B, kShape.Hq, kShape.N, kShape.E});
    const Poisoned<float, 3> lse({kShape.B, kShape.Hq, kShape.N});
    merge_partials(parts.out, parts.lse, out.view(), lse.view());
    for (const double x : doubles_of(out.view())) CHECK(x == 0.0);
    for (const double x : doubles_of(lse.view())) CHECK(x == -HUGE_VAL);
  }
}

TEST_CASE("merge: parts whose weights differ by more than a float can hold", "[softmax]") {
  Tensor<float, 5> parts({2, 1, 1, 1, 1});
  Tensor<float, 4> sums({2, 1, 1, 1});
  Tensor<float, 4> out({1, 1, 1, 1});
  Tensor<float, 3> lse({1, 1, 1});
  parts(0, 0, 0, 0, 0) = 3;
  parts(1, 0, 0, 0, 0) = 5;
  sums(0, 0, 0, 0) = -500;
  sums(1, 0, 0, 0) = 900;
  merge_partials(parts, sums, out, lse.view());
  CHECK(out(0, 0, 0, 0) == 5.f);
  CHECK(lse(0, 0, 0) == 900.f);
}

TEST_CASE("merge: shapes that differ are refused", "[softmax]") {
  Tensor<float, 5> parts({2, 1, 3, 4, 5});
  Tensor<float, 4> sums({2, 1, 3, 4}), wrong_sums({2, 1, 3, 5});
  Tensor<float, 4> out({1, 3, 4, 5}), wrong_out({1, 3, 4, 6});
  Tensor<float, 3> lse({1, 3, 4}), wrong_lse({1, 4, 3});
  merge_partials(parts, sums, out, lse.view());
  CHECK(contains(message_of([&] { merge_partials(parts, wrong_sums, out, lse.view()); }), "sums"));
  CHECK(contains(message_of([&] { merge_partials(parts, sums, wrong_out, lse.view()); }), "out"));
  CHECK(contains(message_of([&] { merge_partials(parts, sums, out, wrong_lse.view()); }), "lse"));
}
