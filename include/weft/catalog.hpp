#pragma once

#include <weft/catalog/layer.hpp>
#include <weft/catalog/linear_time.hpp>
#include <weft/catalog/quant.hpp>
#include <weft/catalog/softmax.hpp>

#include <algorithm>
#include <array>
#include <iterator>

/// Every variant that weft computes: what the README's table, the case tables and the completeness
/// test are made from. A line here promises a header with the equations, a double-precision
/// reference in tests/reference, a test, a benchmark row `family/name/...` and a line of the
/// README.
namespace weft {

namespace detail {

template <std::size_t... N>
constexpr auto joined(const CatalogEntry (&... parts)[N]) {
  std::array<CatalogEntry, (N + ...)> all{};
  auto to = all.begin();
  ((to = std::copy(std::begin(parts), std::end(parts), to)), ...);
  return all;
}

}  // namespace detail

inline constexpr auto kCatalog =
    detail::joined(kSoftmaxCatalog, kLinearTimeCatalog, kLayerCatalog, kQuantCatalog);

}  // namespace weft
