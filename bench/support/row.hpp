#pragma once

#include "machine.hpp"
#include <weft/core/executor.hpp>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

/// Rows of the benchmark program.
///
/// A row has a name `family/variant/verb/dtype/key=value/...`, the work of one call, and a function
/// that prepares its inputs and returns what is to be timed:
///
///   const bench::Rows rms_norm_rows([] {
///     bench::Row{.name = "layer/rms_norm/forward/f32/rows=64/cols=512", .bytes = 2. * 64 * 512 *
///     4}
///         .add([](const weft::Context& context) {
///           return [x = bench::uniform<float>({64, 512}), &context]() mutable { ...; };
///         });
///   });
///
/// Inputs are made when the row runs, not before, and the first call is not timed: it takes scratch
/// memory and page faults. Counters: `seconds` of one call; `GFLOP/s` and `bytes/s` from them;
/// `peak`, the share of the row's floor that was reached; `scratch`, bytes of scratch memory of the
/// context; and those of the row's own, such as `of_plain` (see Versus).
///
/// Seconds are CPU time of the calling thread for one thread, so that time given to other programs
/// does not count, and wall-clock time for several.
namespace bench {

using weft::Index;

/// The hardware limit that a row is compared with, measured right before and right after it.
enum class Floor {
  fma_f32,  ///< fp32 multiply-adds in registers
  fma_f64,  ///< fp64 multiply-adds in registers
  bf16,     ///< the best of: bf16 tile product, bf16 dot product, fp32 multiply-add
  int8,     ///< the best of: byte tile product, byte dot product, fp32 multiply-add
  read,     ///< reading as many bytes as the row does, from as large a buffer (up to 256 MiB)
};

struct Row {
  std::string name;
  double flops = 0;  ///< floating-point operations of one call; 0: no such counter
  double bytes = 0;  ///< bytes that one call must read and write at least once; 0: no such counter
  Floor floor = Floor::fma_f32;
  int threads = 1;  ///< workers of the context that `prepare` gets
  Index calls = 0;  ///< timed in a row; 0: until they have taken the time that is asked for

  /// Registers the row. `prepare(context)` or `prepare()` returns a callable without arguments, one
  /// call of which is one iteration; where that has a member `flops()`, it counts instead of the
  /// row's, and a member `add_counters(state)` adds counters. `prepare` runs several times, so it
  /// must not use itself up.
  template <class Prepare>
  void add(Prepare prepare) const;

  /// The same work done by another program or in another way: `prefix/name`.
  Row by(std::string_view prefix) const;
};

/// Registers rows before main starts benchmarks: one object per source file.
struct Rows {
  explicit Rows(std::function<void()> add_all);
};

/// "name/key=value/key=value".
std::string row_name(std::string_view name,
                     std::initializer_list<std::pair<std::string_view, Index>> keys);

/// Calls everything given to `Rows` objects.
void register_all_rows();

/// Calls f with a context of the calling thread, or of a pool of several.
void with_context(int threads, const std::function<void(const weft::Context&)>& f);

/// Measures the floor of `row`, in operations (Floor::read: bytes) per second.
double floor_rate(const Row& row, const weft::Context& context);

/// Seconds by the clock that a row with so many threads is measured with.
double row_clock(int threads);

/// Fills the counters of a row that took `seconds` for the iterations of `state`.
void report(benchmark::State& state, const Row& row, double seconds, double floor,
            const weft::Context& context);

/// The least seconds of one call of each of two, called in turn: what slows the machine down for a
/// while slows both. `threads` says by which clock.
template <class First, class Second>
std::pair<double, double> least_seconds(First& first, Second& second, int threads, int rounds) {
  const auto time = [threads](auto& call) {
    const double start = row_clock(threads);
    call();
    benchmark::ClobberMemory();
    return row_clock(threads) - start;
  };
  std::pair<double, double> least{time(first), time(second)};
  for (int i = 1; i < rounds; ++i) {
    least.first = std::min(least.first, time(first));
    least.second = std::min(least.second, time(second));
  }
  return least;
}

/// What a row times, and the plain way of the same sizes that it is to be compared with: counter
/// `of_plain`, the time of the one over that of the other.
template <class Call, class Plain>
struct Versus {
  Call call;
  Plain plain;

  void operator()() { call(); }
  void add_counters(benchmark::State& state) {
    const auto [own, other] = least_seconds(call, plain, 1, 5);
    state.counters["of_plain"] = own / other;
  }
};
template <class Call, class Plain>
Versus(Call, Plain) -> Versus<Call, Plain>;

template <class Prepare>
void run_row(benchmark::State& state, Row row, Prepare& prepare, const weft::Context& context) {
  auto once = [&] {
    if constexpr (std::is_invocable_v<Prepare&, const weft::Context&>)
      return prepare(context);
    else
      return prepare();
  }();
  if constexpr (requires { once.flops(); }) row.flops = once.flops();
  once();
  const double before = floor_rate(row, context);
  once();
  const double start = row_clock(row.threads);
  for (auto _ : state) {
    once();
    benchmark::ClobberMemory();
  }
  const double seconds = row_clock(row.threads) - start;
  report(state, row, seconds, std::max(before, floor_rate(row, context)), context);
  if constexpr (requires { once.add_counters(state); }) once.add_counters(state);
}

template <class Prepare>
void Row::add(Prepare prepare) const {
  auto run = [row = *this, prepare](benchmark::State& state) mutable {
    with_context(row.threads,
                 [&](const weft::Context& context) { run_row(state, row, prepare, context); });
  };
  auto* benchmark = benchmark::RegisterBenchmark(name.c_str(), run);
  if (calls > 0) benchmark->Iterations(calls);
}

}  // namespace bench
