// One program for old and new processors: attention is built for several instruction sets, and the
// best one that this machine has is picked when the program runs. Usage: dispatch

#include "kernels.hpp"

#include <weft_dispatch.hpp>

#include <chrono>
#include <cmath>
#include <cstdio>

namespace {

struct Job {
  weft::Tensor<float, 4> q{{1, 8, 512, 64}}, k{{1, 8, 512, 64}}, v{{1, 8, 512, 64}};
  weft::Tensor<float, 4> out{{1, 8, 512, 64}};

  Job() {
    float t = 0;
    for (auto* tensor : {&q, &k, &v})
      for (float& x : tensor->span()) x = std::sin(t += 0.7f);
  }

  /// Milliseconds of the second call; the first warms caches.
  template <class Isa>
  double milliseconds() {
    using Clock = std::chrono::steady_clock;
    attend<Isa>(q, k, v, out);
    const auto start = Clock::now();
    attend<Isa>(q, k, v, out);
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  }
};

}  // namespace

int main() {
  try {
    Job job;
    weft::dispatch([&]<class Isa>() {
      std::printf("this machine runs the build for %s\n", Isa::name);
      std::printf("causal attention, 8 heads x 512 tokens: %.2f ms\n",
                  job.template milliseconds<Isa>());
    });
    std::printf("last output: %.6f\n", static_cast<double>(job.out(0, 7, 511, 63)));
  } catch (const weft::error& e) {
    std::fprintf(stderr, "dispatch: %s\n", e.what());
    return 1;
  }
}
