#pragma once

#include "generate/evaluation.hpp"

#include <string_view>

/// Caches of keys and values in a few bits, on a softmax language model whose weights stay as they
/// are.
namespace compress_model {

/// What a model does with a cache.
struct CacheCost {
  double bits;          ///< per byte of text, each of them read by a step of its own
  weft::Index targets;  ///< bytes predicted
  weft::Index bytes;    ///< of the caches of all layers, for a whole context
  double seconds;       ///< per step, over the whole text
};

/// A kind of cache, as the command line names it.
struct CacheKind {
  std::string_view name;
  std::string_view summary;
  CacheCost (*measure)(const weft::SafetensorsFile& model, std::span<const std::uint8_t> text,
                       weft::Index limit, const weft::Context& ctx);
};

/// The first is that of floats.
std::span<const CacheKind> cache_kinds();

/// Names separated by commas, or "all". Throws weft::error where there is none of a name.
std::vector<CacheKind> cache_kinds_called(std::string_view names);

}  // namespace compress_model
