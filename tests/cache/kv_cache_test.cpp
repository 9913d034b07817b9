#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/cache/kv_cache.hpp>
#include <weft/core/dtype.hpp>

using namespace weft;

namespace {

Tensor<float, 4> tokens(Index count, Index channels, std::uint64_t seed) {
  return even_values<float, 4>({2, 3, count, channels}, seed);
}

void append(KvCache<float>& cache, const Tensor<float, 4>& k, const Tensor<float, 4>& v) {
  cache.append(k.view(), v.view());
}

}  // namespace

TEST_CASE("kv cache: tokens come out as they went in", "[cache]") {
  KvCache<float> cache({2, 3, 9, 5, 4});
  CHECK(cache.length() == 0);
  CHECK(cache.capacity() == 9);
  CHECK(cache.bytes() == 2 * 3 * 9 * (5 + 4) * 4);
  CHECK(cache.keys().empty());
  const auto k1 = tokens(4, 5, 1), k2 = tokens(5, 5, 2), v1 = tokens(4, 4, 3), v2 = tokens(5, 4, 4);
  append(cache, k1, v1);
  append(cache, k2, v2);
  CHECK(cache.length() == 9);
  const auto first = [](const View<const float, 4>& x, Index n) {
    return doubles_of(x.slice(2, 0, n));
  };
  const auto rest = [](const View<const float, 4>& x) { return doubles_of(x.slice(2, 4, 5)); };
  CHECK((first(cache.keys(), 4) == doubles_of(k1.view())));
  CHECK((rest(cache.keys()) == doubles_of(k2.view())));
  CHECK((first(cache.values(), 4) == doubles_of(v1.view())));
  CHECK((rest(cache.values()) == doubles_of(v2.view())));
  cache.truncate(4);
  append(cache, k2, v2);
  CHECK((rest(cache.keys()) == doubles_of(k2.view())));
}

TEST_CASE("kv cache: values as wide as keys unless said; other storage", "[cache]") {
  KvCache<bf16> cache({.batch = 2, .kv_heads = 3, .capacity = 2, .key_dim = 5});
  const auto k = tokens(2, 5, 1), v = tokens(2, 5, 2);
  cache.append(k.view(), v.view());
  CHECK(cache.values().extent(3) == 5);
  CHECK(float(cache.keys()(1, 2, 1, 4)) == float(bf16(k(1, 2, 1, 4))));
}

TEST_CASE("kv cache: what does not fit is refused and changes nothing", "[cache]") {
  KvCache<float> cache({2, 3, 4, 5, 4});
  append(cache, tokens(3, 5, 1), tokens(3, 4, 2));
  const auto before = doubles_of(cache.keys());
  const auto refusal = [&](const Tensor<float, 4>& k, const Tensor<float, 4>& v) {
    const std::string text = message_of([&] { append(cache, k, v); });
    CHECK(cache.length() == 3);
    CHECK((doubles_of(cache.keys()) == before));
    return text;
  };
  CHECK(contains(refusal(tokens(2, 5, 3), tokens(2, 4, 4)), "no room for 2 more"));
  CHECK(contains(refusal(tokens(1, 4, 3), tokens(1, 4, 4)), "does not fit the cache"));
  CHECK(contains(refusal(tokens(1, 5, 3), tokens(1, 5, 4)), "does not fit the cache"));
  CHECK(contains(refusal(tokens(1, 5, 3), tokens(0, 4, 4)), "k brings 1 tokens, v 0"));
  CHECK(contains(message_of([&] { cache.truncate(4); }), "truncate to 4 tokens, the cache has 3"));
  CHECK(contains(message_of([&] { cache.truncate(-1); }), "truncate"));
  for (const CacheSizes& sizes :
       {CacheSizes{0, 1, 1, 1, 1}, CacheSizes{1, 0, 1, 1, 1}, CacheSizes{1, 1, -1, 1, 1},
        CacheSizes{1, 1, 1, 0, 1}, CacheSizes{1, 1, 1, 1, -1}}) {
    CHECK(contains(message_of([&] { KvCache<float> bad(sizes); }), "CacheSizes"));
  }
}
