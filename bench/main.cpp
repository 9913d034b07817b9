/// weft_bench: every speed that weft promises, as one row each.
///
///   weft_bench --benchmark_filter='^gemm/'            rows by regular expression
///   weft_bench --benchmark_list_tests                 their names
///   weft_bench --benchmark_filter=... --benchmark_repetitions=9
///              --benchmark_enable_random_interleaving=true
///
/// Names are family/variant/verb/dtype/key=value/...; the same name under peer/<library>/ is the
/// same work done by another library (-DWEFT_BENCH_PEERS=ON), under unfused/ by separate steps.
/// Counters are explained in support/row.hpp. compare.py runs rows against each other.
#include "support/row.hpp"

#include <benchmark/benchmark.h>

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  bench::register_all_rows();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
