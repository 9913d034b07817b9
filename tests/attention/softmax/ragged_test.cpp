#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/threads.hpp"
#include <weft/attention/softmax/ragged.hpp>

using namespace weft;

namespace {

using Lengths = std::vector<std::int32_t>;

Lengths prefix_sums(const Lengths& lengths) {
  Lengths sums{0};
  for (const std::int32_t n : lengths) sums.push_back(sums.back() + n);
  return sums;
}

/// A ragged batch with 4 query heads on 2 key/value heads.
template <class T>
struct Batch {
  Batch(const Lengths& queries, const Lengths& keys)
      : cu_q(prefix_sums(queries)),
        cu_k(prefix_sums(keys)),
        q(even_values<T, 3>({cu_q.back(), 4, 24}, 1, -2, 2)),
        k(even_values<T, 3>({cu_k.back(), 2, 24}, 2, -2, 2)),
        v(even_values<T, 3>({cu_k.back(), 2, 20}, 3)) {}

  Lengths cu_q, cu_k;
  Tensor<T, 3> q, k, v;

  template <class Mixer>
  std::vector<double> run(const Mixer& mixer, std::vector<double>& lse,
                          const Context& context = Context()) const {
    const Poisoned<T, 3> out({q.extent(0), 4, 20});
    const Poisoned<Accumulator<T>, 2> sums({q.extent(0), 4});
    forward_ragged_with_lse(mixer, q, k, v, cu_q, cu_k, out.view(), sums.view(), context);
    CHECK(out.guards_intact());
    CHECK(sums.guards_intact());
    lse = doubles_of(sums.view());
    return doubles_of(out.view());
  }

  /// Sequence after sequence through forward, as tensors of one batch element.
  template <class Mixer>
  std::vector<double> run_one_by_one(const Mixer& mixer, std::vector<double>& lse) const {
    Tensor<T, 3> out({q.extent(0), 4, 20});
    Tensor<Accumulator<T>, 2> sums({q.extent(0), 4});
    const auto part = [](const auto& x, const Lengths& cu, std::size_t b) {
      const auto rows = x.slice(0, cu[b], cu[b + 1] - cu[b]);
      return View<typename std::remove_reference_t<decltype(*rows.data())>, 4>(
          rows.data(), {1, rows.extent(1), rows.extent(0), rows.extent(2)},
          {0, rows.stride(1), rows.stride(0), 1});
    };
    for (std::size_t b = 0; b + 1 < cu_q.size(); ++b) {
      const auto rows = sums.view().slice(0, cu_q[b], cu_q[b + 1] - cu_q[b]);
      const View<Accumulator<T>, 3> l(rows.data(), {1, 4, rows.extent(0)}, {0, 1, 4});
      forward_with_lse(mixer, part(q.view(), cu_q, b), part(k.view(), cu_k, b),
                       part(v.view(), cu_k, b), part(out.view(), cu_q, b), l);
    }
    lse = doubles_of(sums.view());
    return doubles_of(out.view());
  }
};

const Lengths kQueries{3, 0, 70, 1, 5, 0, 130};
const Lengths kKeys{3, 4, 300, 9, 0, 0, 90};

}  // namespace

TEST_CASE("ragged: equals sequence after sequence", "[softmax][softmax/ragged]") {
  const auto check = [](const auto& mixer, auto type) {
    const Batch<decltype(type)> batch(kQueries, kKeys);
    std::vector<double> lse, expected_lse;
    const auto expected = batch.run_one_by_one(mixer, expected_lse);
    CHECK((batch.run(mixer, lse) == expected));
    CHECK((lse == expected_lse));
    auto three = fresh_threads(3);
    CHECK((batch.run(mixer, lse, Context(three)) == expected));
  };
  check(Softmax{}, float{});
  check(Softmax{cases::kCausal}, float{});
  check(Softmax{cases::kCausal}, double{});
  check(Softmax{Window{7, 2}, SoftCap{2}}, float{});
  check(Softmax{cases::kCausal}, bf16{});
}

TEST_CASE("ragged: agrees with the reference", "[softmax]") {
  const Batch<float> batch({40, 1, 17}, {40, 300, 30});
  std::vector<double> lse;
  const auto out = batch.run(Softmax{cases::kCausal}, lse);
  const auto head_major = [](const Tensor<float, 3>& x, Index begin, Index end) {
    return doubles_of(x.view().slice(0, begin, end - begin).transpose(0, 1));
  };
  for (std::size_t b = 0; b < 3; ++b) {
    const Index first = batch.cu_q[b], last = batch.cu_q[b + 1];
    const Index begin = batch.cu_k[b], end = batch.cu_k[b + 1];
    const cases::AttentionShape shape{1, 4, 2, last - first, end - begin, 24, 20};
    reference::AttentionOptions options;
    options.causal = reference::CausalMode::bottom_right;
    const auto expected = reference::attention(shape.sizes(), head_major(batch.q, first, last),
                                               head_major(batch.k, begin, end),
                                               head_major(batch.v, begin, end), options);
    for (Index h = 0; h < 4; ++h) {
      for (Index i = 0; i < last - first; ++i) {
        const auto row = static_cast<std::size_t>(h * (last - first) + i);
        const auto got = static_cast<std::size_t>((first + i) * 4 + h);
        CHECK(lse[got] == Approx(expected.lse[row]).margin(3e-6));
        for (std::size_t e = 0; e < 20; ++e) {
          CHECK(out[got * 20 + e] == Approx(expected.out[row * 20 + e]).margin(3e-6));
        }
      }
    }
  }
}

TEST_CASE("ragged: no sequences, and sequences without tokens", "[softmax]") {
  std::vector<double> lse;
  CHECK(Batch<float>({}, {}).run(Softmax{}, lse).empty());
  CHECK(Batch<float>({0, 0}, {0, 5}).run(Softmax{}, lse).empty());
  for (const double x : Batch<float>({4}, {0}).run(Softmax{}, lse)) CHECK(x == 0.0);
  for (const double x : lse) CHECK(x == -HUGE_VAL);
}

TEST_CASE("ragged: wrong prefix sums and shapes are refused before anything is written",
          "[softmax]") {
  const Batch<float> good({3, 2}, {4, 4});
  const auto refusal = [&](Lengths cu_q, Lengths cu_k) {
    Tensor<float, 3> out({5, 4, 20});
    std::fill_n(out.data(), out.size(), 7.f);
    const std::string text =
        message_of([&] { forward_ragged(Softmax{}, good.q, good.k, good.v, cu_q, cu_k, out); });
    for (const float x : out.span()) CHECK((x == 7.f) == !text.empty());
    return text;
  };
  CHECK(refusal({0, 3, 5}, {0, 4, 8}) == "");
  CHECK(contains(refusal({1, 3, 5}, {0, 4, 8}), "cu_q must begin with 0"));
  CHECK(contains(refusal({0, 6, 5}, {0, 4, 8}), "cu_q must not decrease"));
  CHECK(contains(refusal({0, 3, 4}, {0, 4, 8}), "cu_q ends at 4, there are 5"));
  CHECK(contains(refusal({0, 3, 5}, {0, 4, 9}), "cu_k ends at 9, there are 8"));
  CHECK(contains(refusal({0, 3, 5}, {0, 8}), "cu_q has 3 entries, cu_k has 2"));
  CHECK(contains(refusal({}, {}), "must begin with 0"));

  Tensor<float, 3> out({5, 4, 20}), short_out({5, 3, 20});
  Tensor<float, 2> short_lse({4, 4});
  CHECK(contains(message_of([&] {
                   forward_ragged(Softmax{}, good.q, good.k, good.v, good.cu_q, good.cu_k,
                                  short_out);
                 }),
                 "out"));
  CHECK(contains(message_of([&] {
                   forward_ragged_with_lse(Softmax{}, good.q, good.k, good.v, good.cu_q, good.cu_k,
                                           out, short_lse);
                 }),
                 "lse"));
}
