#pragma once

#include <weft/core/view.hpp>

#include <cstddef>
#include <type_traits>
#include <vector>

namespace weft::detail {

/// Appends the elements of a view in row-major order to a buffer.
template <class T, std::size_t Rank>
void append_packed(const View<T, Rank>& view, std::vector<std::byte>& buffer) {
  static_assert(std::is_trivially_copyable_v<T>);
  const auto append = [&](const T* first, Index count) {
    const auto* bytes = reinterpret_cast<const std::byte*>(first);
    buffer.insert(buffer.end(), bytes, bytes + count * static_cast<Index>(sizeof(T)));
  };
  if (view.empty()) return;
  if (view.is_packed()) return append(view.data(), view.size());
  if constexpr (Rank > 1) {
    for (Index i = 0; i < view.extent(0); ++i) append_packed(view.select(0, i), buffer);
  } else {
    for (Index i = 0; i < view.extent(0); ++i) append(view.pointer(i), 1);
  }
}

}  // namespace weft::detail
