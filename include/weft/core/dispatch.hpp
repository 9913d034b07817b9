#pragma once

#include <weft/core/check.hpp>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <string>

/// Choosing at run time among builds of one source for several instruction sets.
///
/// The CMake function weft_add_dispatch makes those builds and, for each, a tag type `Isa` in the
/// generated header <weft_dispatch.hpp>:
///
///   struct Isa { static constexpr const char* name; static bool supported(); };
///
/// A program calls the generated `weft::dispatch(f)`, which is `dispatch_among` over all the tags.
/// See examples/dispatch.
namespace weft {

namespace detail {

#if defined(__x86_64__)
/// What __builtin_cpu_supports does not know in every compiler: CMPXCHG16B and LAHF belong to
/// level 2; F16C, MOVBE and LZCNT to level 3.
inline bool cpuid_has_rest_of(int level) {
  unsigned a = 0, b = 0, basic = 0, extended = 0, d = 0;
  if (!__get_cpuid(1, &a, &b, &basic, &d)) return false;
  if (!__get_cpuid(0x80000001u, &a, &b, &extended, &d)) return false;
  const bool level2 = (basic >> 13 & 1u) && (extended & 1u);
  const bool level3 = (basic >> 29 & 1u) && (basic >> 22 & 1u) && (extended >> 5 & 1u);
  return (level < 2 || level2) && (level < 3 || level3);
}
#endif

template <class Isa, class... Higher, class F>
decltype(auto) call_highest(F& f) {
  if constexpr (sizeof...(Higher) > 0) {
    if ((Higher::supported() || ...)) return call_highest<Higher...>(f);
  }
  return f.template operator()<Isa>();
}

}  // namespace detail

/// Whether processor and operating system have all that x86-64-v<level> demands (x86-64 psABI,
/// levels 1 to 4). False on processors of another kind.
inline bool cpu_has_x86_64([[maybe_unused]] int level) {
#if defined(__x86_64__)
  // The builtin also asks whether the operating system saves the wide registers.
  __builtin_cpu_init();
  const bool level2 = __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("sse4.2") &&
                      __builtin_cpu_supports("popcnt");
  const bool level3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool level4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  return (level < 2 || level2) && (level < 3 || level3) && (level < 4 || level4) &&
         detail::cpuid_has_rest_of(level);
#else
  return false;
#endif
}

/// Returns `f.operator()<Isa>()` for the last of `Isas`, lowest first, that this machine can run.
/// Throws `weft::error` with the names of all of them when it can run none.
template <class... Isas, class F>
decltype(auto) dispatch_among(F&& f) {
  if (!(Isas::supported() || ...)) {
    std::string built;
    ((built += (built.empty() ? "" : ", "), built += Isas::name), ...);
    fail("built for " + built + " only, which this processor or operating system lacks");
  }
  return detail::call_highest<Isas...>(f);
}

}  // namespace weft
