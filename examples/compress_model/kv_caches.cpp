#include "kv_caches.hpp"

#include "generate/softmax_mixer.hpp"
#include "named.hpp"
#include <weft/quant/float8_cache.hpp>
#include <weft/quant/kivi.hpp>
#include <weft/quant/kv_cache.hpp>
#include <weft/quant/saq.hpp>

#include <chrono>

namespace compress_model {

namespace {

using weft::Index;

struct Int8 {
  static auto options() { return weft::quant::kInt8Kv; }
};
struct Int4 {
  static auto options() { return weft::quant::kInt4Kv; }
};
struct Float8 {
  static auto options() { return weft::quant::Float8Kv{}; }
};
struct Kivi4 {
  static auto options() { return weft::quant::Kivi{.key_bits = 4, .value_bits = 4}; }
};
struct Kivi2 {
  static auto options() { return weft::quant::Kivi{}; }
};
// Chunks that are short beside the model's context, so that it has tokens of every number of bits.
struct Saq {
  static auto options() { return weft::quant::Saq{.chunk = 32}; }
};

/// What a mixer makes its cache by.
template <class Kind>
struct CodedCache {
  using State = typename decltype(Kind::options())::Cache;

  template <class Softmax>
  State operator()(const Softmax& softmax, const weft::CacheSizes& sizes) const {
    return weft::quant::make_state(softmax, Kind::options(), sizes);
  }
};

template <class Cache>
CacheCost measure(const weft::SafetensorsFile& file, std::span<const std::uint8_t> text,
                  Index limit, const weft::Context& ctx) {
  using Mixer = generate::BasicSoftmaxMixer<generate::Dense, Cache>;
  const generate::LanguageModel<Mixer> model(file, generate::sizes_of(file).context);
  const auto start = std::chrono::steady_clock::now();
  const auto result = generate::bits_per_byte(model, text, limit, ctx, generate::Reading::step);
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  return {result.bits, result.targets, model.bytes(model.make_state()),
          time.count() / static_cast<double>(result.targets)};
}

constexpr CacheKind kKinds[] = {
    {"fp32", "floats", &measure<generate::FloatCache>},
    {"int8", "8 bits, a scale per token and head", &measure<CodedCache<Int8>>},
    {"int4", "4 bits, a scale and an offset per token and head", &measure<CodedCache<Int4>>},
    {"fp8", "floats of 8 bits, E4M3", &measure<CodedCache<Float8>>},
    {"kivi4", "4 bits, keys in groups of tokens; the newest 32 tokens are floats",
     &measure<CodedCache<Kivi4>>},
    {"kivi2", "the same with 2 bits", &measure<CodedCache<Kivi2>>},
    {"saq", "8 bits, then 4, then 2, as tokens grow older by 32", &measure<CodedCache<Saq>>},
};

}  // namespace

std::span<const CacheKind> cache_kinds() { return kKinds; }

std::vector<CacheKind> cache_kinds_called(std::string_view names) {
  return things_called("cache", cache_kinds(), names);
}

}  // namespace compress_model
