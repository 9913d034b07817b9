#include "reference/ecoformer.hpp"

#include "support/any_threads.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/attention/kernelized/ecoformer.hpp>
#include <weft/attention/kernelized/kernel_hash.hpp>

using namespace weft;
using reference::HashRows;

namespace {

/// Codes of even random bits.
BitCodes random_codes(Index B, Index H, Index N, Index bits, std::uint64_t seed) {
  BitCodes codes(B, H, N, bits);
  const auto values = even_values<double, 4>({B, H, N, bits}, seed);
  for (Index b = 0; b < B; ++b)
    for (Index h = 0; h < H; ++h)
      for (Index i = 0; i < N; ++i)
        for (Index r = 0; r < bits; ++r) codes.set(b, h, i, r, values(b, h, i, r) > 0);
  return codes;
}

HashRows signs_of(const BitCodes& codes, Index b, Index h) {
  HashRows rows;
  for (Index i = 0; i < codes.tokens(); ++i) {
    rows.emplace_back();
    for (Index r = 0; r < codes.bits(); ++r) rows.back().push_back(codes.sign(b, h, i, r));
  }
  return rows;
}

template <class T>
HashRows rows_of(const View<const T, 2>& x) {
  HashRows rows;
  for (Index i = 0; i < x.extent(0); ++i) rows.push_back(doubles_of(x.select(0, i)));
  return rows;
}

std::vector<double> run(const EcoFormer& mixer, const BitCodes& q, const BitCodes& k,
                        const Tensor<float, 4>& v, const Context& ctx = Context()) {
  const Poisoned<float, 4> out({q.batch(), q.heads(), q.tokens(), v.extent(3)});
  forward(mixer, q, k, v, out.view(), ctx);
  CHECK(out.guards_intact());
  return doubles_of(out.view());
}

std::vector<double> truth(const BitCodes& q, const BitCodes& k, const Tensor<float, 4>& v,
                          double bias, bool own) {
  std::vector<double> all;
  for (Index b = 0; b < q.batch(); ++b)
    for (Index h = 0; h < q.heads(); ++h) {
      const View<const float, 2> values = v.view().select(0, b).select(0, h);
      for (const auto& row : reference::sign_attention(signs_of(q, b, h), signs_of(k, b, h),
                                                       rows_of(values), bias, own))
        all.insert(all.end(), row.begin(), row.end());
    }
  return all;
}

constexpr double kTolerance = 64 * 0x1p-23;  // sums of some hundred numbers in fp32

}  // namespace

TEST_CASE("ecoformer: additions by patterns of four bits are products of signs",
          "[kernelized][kernelized/ecoformer]") {
  for (const auto& [N, M, bits, E] : {std::array<Index, 4>{1, 1, 1, 1},
                                      {7, 90, 16, 20},
                                      {33, 33, 13, 64},
                                      {5, 8, 66, 3},
                                      {20, 20, 130, 17}}) {
    const auto q = random_codes(2, 2, N, bits, 1), k = random_codes(2, 2, M, bits, 2);
    const auto v = even_values<float, 4>({2, 2, M, E}, 3);
    const double b = static_cast<double>(bits + 1);
    CHECK(largest_error(run({}, q, k, v), truth(q, k, v, b, false)) <= kTolerance);
    CHECK(largest_error(run({300}, q, k, v), truth(q, k, v, 300, false)) <= kTolerance);
    if (N == M)
      CHECK(largest_error(run({0, true}, q, k, v), truth(q, k, v, b, true)) <= kTolerance);
  }
}

TEST_CASE("ecoformer: products of packed codes count their bits", "[kernelized]") {
  for (const Index bits : {1, 16, 63, 64, 65, 200}) {
    const auto codes = random_codes(1, 1, 9, bits, 4);
    const HashRows signs = signs_of(codes, 0, 0);
    for (Index i = 0; i < 9; ++i)
      for (Index j = 0; j < 9; ++j) {
        double product = 0;
        for (std::size_t r = 0; r < static_cast<std::size_t>(bits); ++r)
          product += signs[static_cast<std::size_t>(i)][r] * signs[static_cast<std::size_t>(j)][r];
        CHECK(static_cast<double>(code_product(codes.code(0, 0, i), codes.code(0, 0, j), bits)) ==
              product);
      }
  }
}

TEST_CASE("ecoformer: outputs are means of values, whatever the order of keys", "[kernelized]") {
  const auto q = random_codes(1, 1, 6, 16, 1);
  auto k = random_codes(1, 1, 40, 16, 2);
  auto v = even_values<float, 4>({1, 1, 40, 8}, 3, 2, 3);
  const auto before = run({}, q, k, v);
  for (const double x : before) CHECK((x >= 2 && x <= 3));
  std::swap(*k.code(0, 0, 3), *k.code(0, 0, 30));
  for (Index e = 0; e < 8; ++e) std::swap(v(0, 0, 3, e), v(0, 0, 30, e));
  CHECK(largest_error(run({}, q, k, v), before) <= kTolerance);
  CHECK(same_for_any_threads([&](const Context& ctx) { return run({}, q, k, v, ctx); }));
  const auto none = random_codes(1, 1, 0, 16, 2);
  for (const double x : run({}, q, none, Tensor<float, 4>({1, 1, 0, 8}))) CHECK(x == 0);
}

TEST_CASE("kernel hash: bits are signs of the hash functions", "[kernelized]") {
  constexpr Index H = 2, N = 60, C = 10, m = 7, bits = 18;
  const auto x = even_values<double, 4>({2, H, N, C}, 1);
  const auto a = even_values<double, 3>({H, bits, m}, 2);
  const auto anchors = even_values<double, 3>({H, m, C}, 3);
  const auto mean = even_values<double, 2>({H, m}, 4, 0, 1);
  const BitCodes codes = KernelHash<double>(a, anchors, mean)(x);
  for (Index b = 0; b < 2; ++b)
    for (Index h = 0; h < H; ++h) {
      const View<const double, 2> tokens = x.view().select(0, b).select(0, h);
      const auto y = reference::hash_projections(
          rows_of(tokens), rows_of(View<const double, 2>(a.view().select(0, h))),
          rows_of(View<const double, 2>(anchors.view().select(0, h))),
          doubles_of(mean.view().select(0, h)));
      for (Index i = 0; i < N; ++i)
        for (Index r = 0; r < bits; ++r) {
          const double own = y[static_cast<std::size_t>(i)][static_cast<std::size_t>(r)];
          if (std::abs(own) > 1e-12) CHECK(codes.sign(b, h, i, r) == (own > 0 ? 1 : -1));
        }
    }
}

TEST_CASE("ecoformer: what does not fit is refused", "[kernelized]") {
  const auto q = random_codes(1, 2, 5, 16, 1), k = random_codes(1, 2, 6, 16, 2);
  const auto odd = random_codes(1, 2, 6, 15, 2);
  Tensor<float, 4> v({1, 2, 6, 8}), out({1, 2, 5, 8}), wide({1, 2, 5, 9});
  const auto refusal = [&](const EcoFormer& mixer, const BitCodes& keys, Tensor<float, 4>& to) {
    return message_of([&] { forward(mixer, q, keys, v, to); });
  };
  CHECK(refusal({}, k, out).empty());
  CHECK(contains(refusal({}, k, wide), "out has 9 channels"));
  CHECK(contains(refusal({}, odd, out), "16 bits, of keys 15"));
  CHECK(contains(refusal({-1}, k, out), "bias is -1"));
  CHECK(contains(refusal({0, true}, k, out), "as many queries as keys"));
  CHECK(contains(message_of([] { BitCodes(1, 1, 1, 0); }), "bits is 0"));
  const Tensor<float, 3> a({2, 16, 5}), anchors({2, 4, 8});
  const Tensor<float, 2> mean({2, 5});
  CHECK(contains(message_of([&] { KernelHash<float>(a, anchors, mean); }), "wanted [H, R, m]"));
}
