#pragma once

#include "support/threads.hpp"

/// Whether f(context) gives equal results for one, two and three threads. Results compare bit for
/// bit: vectors of numbers without NaN.
template <class F>
bool same_for_any_threads(F f) {
  const auto expected = f(weft::Context());
  for (const int threads : {2, 3}) {
    auto executor = fresh_threads(threads);
    if (f(weft::Context(executor)) != expected) return false;
  }
  return true;
}
