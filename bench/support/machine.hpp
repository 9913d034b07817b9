#pragma once

#include <weft/core/executor.hpp>

#include <functional>
#include <span>

/// What this machine can do at most: the numbers that the counter `peak` of a row refers to.
namespace bench {

using weft::Index;

/// Seconds since some fixed moment.
double now();

/// A short piece of work that nothing but one hardware limit slows down.
struct Burst {
  double work = 0;  ///< operations, or bytes; 0 where the target has no such thing

  /// Does one of `parts` equal parts of the work.
  std::function<void(Index part, Index parts)> run = {};
};

/// Multiply-adds in vector registers, two operations per lane. For T = float and double.
template <class T>
Burst fma_burst();

/// Products of bf16 pairs summed in fp32 vector registers: the dot product instruction of the
/// target, or fp32 multiply-adds where it has none.
Burst dot_bf16_burst();

/// Products of bf16 tiles (AMX). No work where not compiled for, or not granted by the system.
Burst tile_bf16_burst();

/// The same of bytes, four to a lane, with sums of 32 bits.
Burst dot_int8_burst();
Burst tile_int8_burst();

/// Reads `buffer` from front to back, as that many streams side by side: 1 or 8. One stream of
/// loads is best in a cache but does not keep the memory of every machine busy.
Burst read_burst(std::span<const float> buffer, int streams);

/// Work per second of all workers of the context together, as of now: clock rate and neighbours
/// change from second to second. The best of a few attempts in some milliseconds, because what
/// disturbs a burst can only slow it down.
double best_rate(const Burst& burst, const weft::Context& context);

}  // namespace bench
