#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include <weft/cache/paged_kv.hpp>

#include <numeric>
#include <random>

using namespace weft;

namespace {

constexpr Index kBlock = 16, kHeads = 2, kD = 24, kE = 20;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Pages that are NaN wherever no token was put, and a table in random order.
struct Pages {
  explicit Pages(const std::vector<std::int32_t>& sequence_lengths, unsigned seed)
      : count(std::ssize(sequence_lengths)),
        keys({40, kBlock, kHeads, kD}),
        values({40, kBlock, kHeads, kE}),
        table({count, 10}),
        lengths({count}) {
    std::fill_n(keys.data(), keys.size(), kNan);
    std::fill_n(values.data(), values.size(), kNan);
    std::fill_n(table.data(), table.size(), -1);
    std::vector<std::int32_t> order(40);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    for (Index b = 0; b < count; ++b) {
      const Index blocks = ceil_div(Index{sequence_lengths[static_cast<std::size_t>(b)]}, kBlock);
      for (Index i = 0; i < blocks; ++i, order.pop_back()) table(b, i) = order.back();
    }
  }

  PagedKv<float> paged() { return {keys.view(), values.view(), table.view(), lengths.view()}; }

  /// Copies the first tokens of k, v [B, H, M, .] to where the table says, and sets the lengths.
  void fill(const std::vector<std::int32_t>& sequence_lengths, const Tensor<float, 4>& k,
            const Tensor<float, 4>& v) {
    for (Index b = 0; b < count; ++b) {
      lengths(b) = sequence_lengths[static_cast<std::size_t>(b)];
      for (Index j = 0; j < lengths(b); ++j) {
        const Index block = table(b, j / kBlock), slot = j % kBlock;
        for (Index h = 0; h < kHeads; ++h) {
          for (Index d = 0; d < kD; ++d) keys(block, slot, h, d) = k(b, h, j, d);
          for (Index e = 0; e < kE; ++e) values(block, slot, h, e) = v(b, h, j, e);
        }
      }
    }
  }

  Index count;
  Tensor<float, 4> keys, values;
  Tensor<std::int32_t, 2> table;
  Tensor<std::int32_t, 1> lengths;
};

template <class Mixer>
std::vector<double> attend(const Mixer& mixer, const Tensor<float, 4>& q,
                           const PagedKv<float>& pages) {
  const Poisoned<float, 4> out({q.extent(0), q.extent(1), q.extent(2), kE});
  forward(mixer, q, pages, out.view());
  CHECK(out.guards_intact());
  return doubles_of(out.view());
}

const std::vector<std::int32_t> kLengths{5, 0, 150, 16, 33};

}  // namespace

TEST_CASE("paged: equals contiguous, whatever the order of the blocks", "[cache][softmax/paged]") {
  for (const Index n : {1, 3, 40}) {
    const cases::AttentionShape shape{5, 4, kHeads, n, 150, kD, kE};
    const cases::AttentionInputs<float> in(shape);
    Pages first(kLengths, 1), second(kLengths, 2);
    first.fill(kLengths, in.k, in.v);
    second.fill(kLengths, in.k, in.v);
    const auto got = attend(Softmax{cases::kCausal}, in.q, first.paged());
    CHECK((attend(Softmax{cases::kCausal}, in.q, second.paged()) == got));
    const auto size = got.size() / 5;
    for (Index b = 0; b < 5; ++b) {
      const Index m = kLengths[static_cast<std::size_t>(b)];
      Tensor<float, 4> out({1, 4, n, kE});
      forward(Softmax{cases::kCausal}, in.q.view().slice(0, b, 1),
              in.k.view().slice(0, b, 1).slice(2, 0, m), in.v.view().slice(0, b, 1).slice(2, 0, m),
              out);
      const auto from =
          got.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(b) * size);
      const std::vector<double> part(from, from + static_cast<std::ptrdiff_t>(size));
      INFO("sequence " << b << ", " << n << " queries");
      CHECK(cases::error_of(part, doubles_of(out.view())) < 2e-6);
    }
  }
}

TEST_CASE("paged: appending, and sequences that share blocks", "[cache]") {
  const std::vector<std::int32_t> final_lengths{40, 40};
  const cases::AttentionInputs<float> in({2, 4, kHeads, 40, 40, kD, kE});
  Pages pages(final_lengths, 3);
  PagedKv<float> paged = pages.paged();
  const auto part = [](const Tensor<float, 4>& x, Index begin, Index n) {
    return x.view().slice(2, begin, n);
  };
  Tensor<float, 4> whole({2, 4, 40, kE}), out({2, 4, 40, kE});
  forward(Softmax{cases::kCausal}, in.q, in.k, in.v, whole);
  Index at = 0;
  for (const Index n : {1, 15, 1, 20, 3}) {
    prefill(Softmax{cases::kCausal}, paged, part(in.q, at, n), part(in.k, at, n), part(in.v, at, n),
            out.view().slice(2, at, n));
    at += n;
    CHECK(paged.keys(1) == at);
  }
  CHECK(cases::error_of(doubles_of(out.view()), doubles_of(whole.view())) < 2e-6);

  // Sequence 1 reads the blocks of sequence 0.
  for (Index i = 0; i < 3; ++i) pages.table(1, i) = pages.table(0, i);
  paged.check();
  const auto shared = attend(Softmax{cases::kCausal}, in.q, paged);
  const auto half = std::ssize(shared) / 2;
  Tensor<float, 4> expected({1, 4, 40, kE});
  forward(Softmax{cases::kCausal}, in.q.view().slice(0, 1, 1), in.k.view().slice(0, 0, 1),
          in.v.view().slice(0, 0, 1), expected);
  CHECK(cases::error_of({shared.begin() + half, shared.end()}, doubles_of(expected.view())) < 2e-6);
}

TEST_CASE("paged: tables, lengths and shapes that do not fit are refused", "[cache]") {
  const auto refusal = [](auto damage) {
    Pages pages(kLengths, 1);
    const cases::AttentionInputs<float> in({5, 2, kHeads, 1, 150, kD, kE});
    pages.fill(kLengths, in.k, in.v);
    damage(pages);
    return message_of([&] { (void)pages.paged(); });
  };
  CHECK(refusal([](Pages&) {}) == "");
  CHECK(refusal([](Pages& p) { p.table(1, 0) = 1000; }) ==
        "");  // of an empty sequence: not looked at
  CHECK(contains(refusal([](Pages& p) { p.table(2, 9) = 40; }),
                 "entry 9 of sequence 2 names block 40, there are 40"));
  CHECK(contains(refusal([](Pages& p) { p.table(4, 2) = -1; }), "names block -1"));
  CHECK(contains(refusal([](Pages& p) { p.lengths(0) = 161; }), "its table has room for 160"));
  CHECK(contains(refusal([](Pages& p) { p.lengths(0) = -1; }), "has -1 tokens"));
  CHECK(contains(refusal([](Pages& p) { p.lengths = Tensor<std::int32_t, 1>({4}); }),
                 "lengths has 4"));
  CHECK(contains(refusal([](Pages& p) {
                   p.values = Tensor<float, 4>({40, 8, kHeads, kE});
                 }),
                 "must agree"));

  Pages pages(kLengths, 1);
  PagedKv<float> paged = pages.paged();
  const auto tokens = [](Index heads, Index n, Index d) {
    return Tensor<float, 4>({5, heads, n, d});
  };
  const auto append_refusal = [&](const Tensor<float, 4>& k, const Tensor<float, 4>& v) {
    const std::string text = message_of([&] { paged.append(k.view(), v.view()); });
    CHECK(paged.keys(2) == 0);
    return text;
  };
  CHECK(contains(append_refusal(tokens(1, 1, kD), tokens(1, 1, kE)), "does not fit the pages"));
  CHECK(contains(append_refusal(tokens(2, 1, kD), tokens(2, 2, kE)), "does not fit the pages"));
  CHECK(contains(append_refusal(tokens(2, 1, kD), tokens(2, 1, kE)), "sequence 1 names block -1"));
}
