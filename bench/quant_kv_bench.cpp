/// quant/kv_*, quant/kivi, quant/saq: decode attention over caches of codes; quant/sage_attention:
/// a whole sequence by 8-bit integers. `of_plain` is the time over that of the same in fp32.
#include "support/inputs.hpp"
#include "support/row.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/quant/float8_cache.hpp>
#include <weft/quant/kivi.hpp>
#include <weft/quant/kv_cache.hpp>
#include <weft/quant/sage_attention.hpp>
#include <weft/quant/saq.hpp>

namespace {

using bench::Index;
using bench::uniform;

constexpr Index kHeads = 32, kKvHeads = 8, kDim = 128, kCached = 16384;
const weft::Softmax kCausal{weft::Causal(weft::Align::bottom_right)};

/// One token over a full cache. What it appends is taken back where that can be; caches that
/// quantize behind the newest tokens attend only.
template <class Cache>
class Step {
 public:
  template <class Options>
  Step(const Options& options, const weft::Context& context)
      : context_(context), cache_(options, sizes()) {
    append(uniform<float>({1, kKvHeads, kCached, kDim}, 1),
           uniform<float>({1, kKvHeads, kCached, kDim}, 2));
  }

  void operator()() {
    if constexpr (requires { cache_.truncate(kCached); }) {
      step(kCausal, cache_, q_.view().select(2, 0), k_.view().select(2, 0), v_.view().select(2, 0),
           out_.view().select(2, 0), context_);
      cache_.truncate(kCached);
    } else {
      forward(kCausal, q_, cache_, out_, context_);
    }
  }

  static weft::CacheSizes sizes() { return {1, kKvHeads, kCached + 1, kDim, kDim}; }
  double bytes() const { return static_cast<double>(cache_.bytes()); }

 private:
  void append(const weft::Tensor<float, 4>& k, const weft::Tensor<float, 4>& v) {
    cache_.append(k.view(), v.view());
  }

  const weft::Context& context_;
  Cache cache_;
  weft::Tensor<float, 4> q_ = uniform<float>({1, kHeads, 1, kDim}, 3);
  weft::Tensor<float, 4> k_ = uniform<float>({1, kKvHeads, 1, kDim}, 4);
  weft::Tensor<float, 4> v_ = uniform<float>({1, kKvHeads, 1, kDim}, 5);
  weft::Tensor<float, 4> out_{{1, kHeads, 1, kDim}};
};

/// The plain cache by the same constructor.
struct PlainCache : weft::KvCache<float> {
  PlainCache(int, const weft::CacheSizes& sizes) : KvCache(sizes) {}
};

template <class Options>
void add_step(const char* name, const Options& options, Index bits) {
  using Cache = typename Options::Cache;
  const double codes = 2.0 * kKvHeads * kCached * kDim;
  bench::Row{
      .name = bench::row_name(std::string("quant/") + name + "/step/f32", {{"B", 1},
                                                                           {"H", kHeads},
                                                                           {"Hk", kKvHeads},
                                                                           {"N", 1},
                                                                           {"cached", kCached},
                                                                           {"D", kDim},
                                                                           {"bits", bits},
                                                                           {"threads", 1}}),
      .flops = 2 * codes * kHeads / kKvHeads,
      .bytes = codes * static_cast<double>(bits) / 8,
      .floor = bench::Floor::read}
      .add([options](const weft::Context& context) {
        return bench::Versus{Step<Cache>(options, context), Step<PlainCache>(0, context)};
      });
}

void add_sage(bool int8_values, Index tokens) {
  constexpr Index heads = 4;
  const auto n = static_cast<double>(tokens);
  bench::Row{.name = bench::row_name("quant/sage_attention/forward/f32",
                                     {{"B", 1},
                                      {"H", heads},
                                      {"N", tokens},
                                      {"D", kDim},
                                      {"int8_values", int8_values ? 1 : 0},
                                      {"threads", 1}}),
             .flops = 4 * n * n * heads * kDim,
             .bytes = 16 * n * heads * kDim}
      .add([=](const weft::Context& context) {
        struct Inputs {
          weft::Tensor<float, 4> q, k, v, out;
        };
        const auto inputs = [tokens] {
          return Inputs{uniform<float>({1, heads, tokens, kDim}, 1),
                        uniform<float>({1, heads, tokens, kDim}, 2),
                        uniform<float>({1, heads, tokens, kDim}, 3),
                        weft::Tensor<float, 4>({1, heads, tokens, kDim})};
        };
        weft::quant::SageAttention<> mixer;
        mixer.int8_values = int8_values;
        return bench::Versus{[mixer, x = inputs(), &context]() mutable {
                               forward(mixer, x.q, x.k, x.v, x.out, context);
                             },
                             [x = inputs(), &context]() mutable {
                               forward(weft::Softmax{}, x.q, x.k, x.v, x.out, context);
                             }};
      });
}

const bench::Rows rows([] {
  using namespace weft::quant;
  add_step("kv_int8", kInt8Kv, 8);
  add_step("kv_int4", kInt4Kv, 4);
  add_step("kv_fp8", Float8Kv{}, 8);
  add_step("kivi", Kivi{4, 4, 32, 32}, 4);
  add_step("kivi", Kivi{2, 2, 32, 32}, 2);
  add_step("saq", Saq{}, 2);
  add_sage(false, 2048);
  add_sage(true, 2048);
});

}  // namespace
