#include "attention/softmax/compare.hpp"
#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/attention/softmax/prefix.hpp>
#include <weft/attention/softmax/subset.hpp>

// softmax/vqt_prefix, softmax/ssa_subset

using namespace weft;

namespace {

constexpr Index kHeads = 4, kKvHeads = 2, kDim = 12, kValues = 7;

template <class T>
struct Setup {
  Setup(Index B, Index N, Index M, Index P)
      : q(even_values<T, 4>({B, kHeads, N, kDim}, 1, -2, 2)),
        k(even_values<T, 4>({B, kKvHeads, P + M, kDim}, 2, -2, 2)),
        v(even_values<T, 4>({B, kKvHeads, P + M, kValues}, 3)),
        P_(P) {}

  /// The first P keys as a prefix of the others.
  template <class Mixer>
  std::vector<double> run(const Mixer& mixer, const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({q.extent(0), kHeads, q.extent(2), kValues});
    const auto front = [&](const auto& x) { return x.view().slice(2, 0, P_); };
    const auto rest = [&](const auto& x) { return x.view().slice(2, P_, x.extent(2) - P_); };
    forward_prefix(mixer, q, front(k), front(v), rest(k), rest(v), out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  /// Attention to the keys of a subset, in its order.
  template <class Mixer>
  std::vector<double> run_subset(const Mixer& mixer, View<const std::int32_t, 1> subset,
                                 const Context& ctx = Context()) const {
    const Poisoned<T, 4> out({q.extent(0), kHeads, q.extent(2), kValues});
    forward_subset(mixer, q, k, v, subset, out.view(), ctx);
    CHECK(out.guards_intact());
    return doubles_of(out.view());
  }

  reference::AttentionSizes sizes() const {
    return cases::AttentionShape{q.extent(0), kHeads, kKvHeads, q.extent(2),
                                 k.extent(2), kDim,   kValues}
        .sizes();
  }
  std::vector<double> expected(const reference::AttentionOptions& options) const {
    return reference::attention(sizes(), doubles_of(q.view()), doubles_of(k.view()),
                                doubles_of(v.view()), options)
        .out;
  }

  /// Attention of all keys, those outside the subset and (causal) the later ones hidden.
  std::vector<double> expected_subset(View<const std::int32_t, 1> subset, bool causal) const {
    const auto s = sizes();
    reference::AttentionOptions options;
    std::vector<std::uint8_t> mask(s.M, 0);
    for (Index i = 0; i < subset.extent(0); ++i) mask[static_cast<std::size_t>(subset(i))] = 1;
    options.mask = {mask, 1, 1, 1, s.M};
    if (causal) options.causal = reference::CausalMode::bottom_right;
    return expected(options);
  }

  Tensor<T, 4> q, k, v;
  Index P_;
};

Tensor<std::int32_t, 1> numbers(std::initializer_list<std::int32_t> values) {
  Tensor<std::int32_t, 1> out({static_cast<Index>(values.size())});
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

}  // namespace

TEST_CASE("prefix: keys in front of keys", "[softmax]") {
  reference::AttentionOptions causal;
  causal.causal = reference::CausalMode::bottom_right;
  for (const Index P : {0, 1, 5, 270}) {
    const Setup<double> s(2, 33, 70, P), few(1, 1, 600, P);
    CHECK(largest_error(s.run(Softmax{}), s.expected({})) < 1e-13);
    CHECK(largest_error(s.run(Softmax{cases::kCausal}), s.expected(causal)) < 1e-13);
    CHECK(largest_error(few.run(Softmax{}), few.expected({})) < 1e-13);
  }
  const Setup<float> s(2, 40, 50, 3);
  CHECK(largest_error(s.run(Softmax{}), s.expected({})) < 1e-5);
  CHECK(same_for_any_threads([&](const Context& ctx) { return s.run(Softmax{}, ctx); }));
  CHECK(Setup<float>(0, 3, 4, 2).run(Softmax{}).empty());
  CHECK(largest_error(Setup<double>(1, 3, 0, 2).run(Softmax{}),
                      Setup<double>(1, 3, 0, 2).expected({})) < 1e-13);
}

TEST_CASE("prefix: the merge of two attentions; one prefix for the batch", "[softmax]") {
  const Setup<double> s(2, 20, 30, 4);
  Tensor<double, 5> parts({2, 2, kHeads, 20, kValues});
  Tensor<double, 4> sums({2, 2, kHeads, 20}), out({2, kHeads, 20, kValues});
  Tensor<double, 3> lse({2, kHeads, 20});
  const auto part = [&](Index p, Index first, Index count) {
    forward_with_lse(Softmax{}, s.q, s.k.view().slice(2, first, count),
                     s.v.view().slice(2, first, count), parts.view().select(0, p),
                     sums.view().select(0, p));
  };
  part(0, 0, 4);
  part(1, 4, 30);
  merge_partials(parts, sums, out, lse.view());
  CHECK(largest_error(s.run(Softmax{}), doubles_of(out.view())) < 1e-14);

  const auto first = [](const auto& x) { return x.view().slice(0, 0, 1).slice(2, 0, 4); };
  const auto rest = [](const auto& x) { return x.view().slice(2, 4, 30); };
  forward_prefix(Softmax{}, s.q, first(s.k), first(s.v), rest(s.k), rest(s.v), out);
  const auto batch0 = [](const auto& x) { return x.view().slice(0, 0, 1); };
  CHECK((doubles_of(batch0(out)) == [&] {
    Tensor<double, 4> alone({1, kHeads, 20, kValues});
    forward(Softmax{}, batch0(s.q), batch0(s.k), batch0(s.v), alone);
    return doubles_of(alone.view());
  }()));
}

TEST_CASE("visual query tuning leaves the tokens' rows bit for bit", "[softmax]") {
  const Setup<float> s(1, 40, 33, 0);
  Tensor<float, 4> with({1, kHeads, 40, kValues}), without({1, kHeads, 29, kValues});
  forward(Softmax{}, s.q, s.k, s.v, with);
  forward(Softmax{}, s.q.view().slice(2, 11, 29), s.k, s.v, without);
  CHECK((doubles_of(with.view().slice(2, 11, 29)) == doubles_of(without.view())));
}

TEST_CASE("prefix refuses what does not fit", "[softmax][errors]") {
  const Setup<float> s(2, 3, 4, 0);
  Tensor<float, 4> out({2, kHeads, 3, kValues}), prefix({1, kKvHeads, 2, kDim});
  Tensor<float, 4> heads({1, 1, 2, kDim}), values({1, kKvHeads, 2, kValues});
  const auto refusal = [&](const Tensor<float, 4>& pk, const Tensor<float, 4>& pv, Index batch) {
    return message_of(
        [&] { forward_prefix(Softmax{}, s.q.view().slice(0, 0, batch), pk, pv, s.k, s.v, out); });
  };
  CHECK(contains(refusal(heads, values, 2), "the prefix of k is"));
  CHECK(contains(refusal(prefix, prefix, 2), "the prefix of v is"));
  CHECK(contains(refusal(prefix, values, 1), "q has batch size 1, k has 2"));
}

TEST_CASE("subset: attention to some of the keys", "[softmax]") {
  const Setup<double> s(2, 19, 40, 0), long_one(1, 1, 700, 0);
  Philox random(1);
  for (const Index count : {0, 1, 7, 39, 40}) {
    const auto subset = draw_subset(random, 40, count);
    CHECK(std::is_sorted(subset.span().begin(), subset.span().end()));
    CHECK(std::adjacent_find(subset.span().begin(), subset.span().end()) == subset.span().end());
    const auto chosen = std::as_const(subset).view();
    const CausalSubset causal{chosen, 40};
    CHECK(largest_error(s.run_subset(Softmax{}, chosen), s.expected_subset(chosen, false)) < 1e-13);
    CHECK(largest_error(s.run_subset(Softmax{causal}, chosen), s.expected_subset(chosen, true)) <
          1e-13);
  }
  const auto many = draw_subset(random, 700, 600);
  CHECK(largest_error(long_one.run_subset(Softmax{}, many.view()),
                      long_one.expected_subset(many.view(), false)) < 1e-13);
  const auto shuffled = numbers({5, 3, 4, 39, 0});
  CHECK(largest_error(s.run_subset(Softmax{}, shuffled.view()),
                      s.expected_subset(shuffled.view(), false)) < 1e-13);
  CHECK(same_for_any_threads(
      [&](const Context& ctx) { return s.run_subset(Softmax{}, shuffled.view(), ctx); }));
}

TEST_CASE("subset: a draw is even and repeatable; what does not fit is refused",
          "[softmax][errors]") {
  Philox random(3), again(3);
  std::vector<int> seen(10, 0);
  for (int i = 0; i < 1000; ++i) {
    const auto subset = draw_subset(random, 10, 3);
    CHECK(std::equal(subset.span().begin(), subset.span().end(),
                     draw_subset(again, 10, 3).span().begin()));
    for (const std::int32_t j : subset.span()) ++seen[static_cast<std::size_t>(j)];
  }
  for (const int count : seen) CHECK(std::abs(count - 300) < 75);  // five standard deviations
  CHECK(contains(message_of([&] { draw_subset(random, 3, 4); }), "4 of 3 keys"));
  const Setup<float> s(1, 3, 4, 0);
  const auto outside = numbers({1, 4}), inside = numbers({1, 3});
  CHECK(contains(message_of([&] { s.run_subset(Softmax{}, outside.view()); }),
                 "entry 1 of the subset is 4"));
  const CausalSubset other{outside.view().slice(0, 0, 1), 4};
  CHECK(contains(message_of([&] { s.run_subset(Softmax{other}, inside.view()); }),
                 "1 numbers for 2 keys"));
}
