#pragma once

#include <weft/core/executor.hpp>

/// Number of calls of operator new so far, in the whole test program and by any thread.
long allocations() noexcept;

/// Whether f(context) calls no operator new once the context has its scratch memory.
template <class F>
bool allocates_once(F f) {
  const weft::Context context;
  f(context);
  f(context);
  const long before = allocations();
  f(context);
  return allocations() == before;
}
