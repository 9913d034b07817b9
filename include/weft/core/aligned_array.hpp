#pragma once

#include <weft/core/view.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace weft {

/// Cache line and widest vector register, in bytes; every buffer that weft allocates starts there.
inline constexpr std::size_t kAlignment = 64;

namespace detail {

inline constexpr std::uintptr_t kHugePage = 2 << 20;

struct AlignedDelete {
  void operator()(void* p) const noexcept { ::operator delete(p, std::align_val_t{kAlignment}); }
};

/// Asks for huge pages where the system gives them on request only: hardware prefetchers stop at
/// the end of a page, and weights or caches that are read once per token come a tenth to a sixth
/// faster without such stops. A request that is refused changes nothing.
inline void ask_huge_pages([[maybe_unused]] void* p, [[maybe_unused]] std::size_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const auto at = reinterpret_cast<std::uintptr_t>(p);
  const std::uintptr_t first = (at + kHugePage - 1) / kHugePage * kHugePage;
  const std::uintptr_t last = (at + bytes) / kHugePage * kHugePage;
  if (first < last)
    static_cast<void>(
        ::madvise(static_cast<std::byte*>(p) + (first - at), last - first, MADV_HUGEPAGE));
#endif
}

/// Uninitialised aligned storage; the elements must be trivial, so no destructor is owed.
template <class T>
std::unique_ptr<T[], AlignedDelete> aligned_array(Index count) {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
  const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
  void* const p = ::operator new(bytes, std::align_val_t{kAlignment});
  ask_huge_pages(p, bytes);
  return std::unique_ptr<T[], AlignedDelete>(static_cast<T*>(p));
}

}  // namespace detail

}  // namespace weft
