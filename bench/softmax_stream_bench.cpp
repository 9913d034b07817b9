/// softmax/causal/prefill and step: attention over a cache, token by token and chunk by chunk. Each
/// call appends to the cache, sees all of it, and takes back what it appended.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/attention/softmax.hpp>

namespace {

using bench::Floor;
using bench::Index;
using bench::Row;
using bench::uniform;

constexpr Index kHeads = 32, kKvHeads = 8, kDim = 128;
const weft::Softmax kCausal{weft::Causal(weft::Align::bottom_right)};

/// A cache with `length` tokens, and room for `more`.
template <class S>
weft::KvCache<S> filled_cache(Index length, Index more) {
  auto cache = weft::make_state<S>(kCausal, {.batch = 1,
                                             .kv_heads = kKvHeads,
                                             .capacity = length + more,
                                             .key_dim = kDim,
                                             .value_dim = kDim});
  const auto k = uniform<S>({1, kKvHeads, length, kDim}, 1);
  const auto v = uniform<S>({1, kKvHeads, length, kDim}, 2);
  cache.append(k.view(), v.view());
  return cache;
}

Row row_of(const char* verb, Index tokens, Index before, double element) {
  const auto n = static_cast<double>(tokens), m = static_cast<double>(before);
  const double pairs = n * m + n * (n + 1) / 2;
  return {.name = bench::row_name(std::string("softmax/causal/") + verb, {{"B", 1},
                                                                          {"H", kHeads},
                                                                          {"Hk", kKvHeads},
                                                                          {"N", tokens},
                                                                          {"cached", before},
                                                                          {"D", kDim},
                                                                          {"threads", 1}}),
          .flops = 4 * kHeads * kDim * pairs,
          .bytes = element * 2 * (kKvHeads * (n + m) + kHeads * n) * kDim,
          .floor = tokens == 1 ? Floor::read : Floor::fma_f32};
}

template <class S>
void add_step(const char* verb, Index before) {
  row_of(verb, 1, before, sizeof(S)).add([before](const weft::Context& context) {
    return
        [&context, before, cache = filled_cache<S>(before, 1), q = uniform<S>({1, kHeads, kDim}, 3),
         k = uniform<S>({1, kKvHeads, kDim}, 4), v = uniform<S>({1, kKvHeads, kDim}, 5),
         out = uniform<S>({1, kHeads, kDim}, 6)]() mutable {
          weft::step(kCausal, cache, q, k, v, out, context);
          cache.truncate(before);
        };
  });
}

void add_prefill(Index tokens, Index before) {
  row_of("prefill/f32", tokens, before, 4).add([=](const weft::Context& context) {
    return [&context, before, cache = filled_cache<float>(before, tokens),
            q = uniform<float>({1, kHeads, tokens, kDim}, 3),
            k = uniform<float>({1, kKvHeads, tokens, kDim}, 4),
            v = uniform<float>({1, kKvHeads, tokens, kDim}, 5),
            out = uniform<float>({1, kHeads, tokens, kDim}, 6)]() mutable {
      weft::prefill(kCausal, cache, q, k, v, out, context);
      cache.truncate(before);
    };
  });
}

const bench::Rows rows([] {
  add_step<float>("step/f32", 1024);
  add_step<float>("step/f32", 16384);
  add_step<weft::bf16>("step/bf16", 16384);
  add_prefill(512, 0);
  add_prefill(512, 4096);
});

}  // namespace
