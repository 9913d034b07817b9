// weft_ulp: the largest error of every float function of core/math.hpp over all 2^32 inputs.
//
//   weft_ulp [--step N] [--threads N] [FUNCTION...]
//
// With --step N only every N-th bit pattern is tried. One function takes one to three minutes of
// one core; the reference is double precision.

#include "../tests/support/ulp.hpp"

#include "../tests/support/math_functions.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

using weft::Index;
constexpr std::uint64_t kPatterns = std::uint64_t{1} << 32;

// Results that are the rounded reference are within half an ulp and need no closer look.
struct Worst {
  double ulp = 0.5;
  float at = 0;
};

struct Options {
  std::uint64_t step = 1;
  unsigned threads = 1;
  std::vector<std::string> names;
};

// Patterns first, first + step, ... below end.
Worst sweep(const FloatFunction& f, std::uint64_t first, std::uint64_t end, std::uint64_t step) {
  constexpr auto width = static_cast<std::uint64_t>(weft::kWidth<float>);
  float in[width], out[width];
  Worst worst;
  for (std::uint64_t base = first; base < end; base += step * width) {
    for (std::uint64_t i = 0; i < width; ++i)
      in[i] = std::bit_cast<float>(static_cast<std::uint32_t>(base + i * step));
    f.value(FloatFunction::V::load_unaligned(in)).store_unaligned(out);
    for (std::uint64_t i = 0; i < width && base + i * step < end; ++i) {
      if (f.nonpositive_only && in[i] > 0) continue;
      const double want = f.reference(double{in[i]});
      if (out[i] == static_cast<float>(want)) continue;
      const double ulp = ulp_distance(out[i], want);
      if (ulp > worst.ulp) worst = {ulp, in[i]};
    }
  }
  return worst;
}

Worst sweep_all(const FloatFunction& f, const Options& options) {
  std::vector<Worst> parts(options.threads);
  std::vector<std::thread> threads;
  const std::uint64_t share = kPatterns / options.threads / options.step * options.step;
  for (unsigned t = 0; t < options.threads; ++t) {
    const std::uint64_t end = t + 1 == options.threads ? kPatterns : (t + 1) * share;
    threads.emplace_back([&, t, end] { parts[t] = sweep(f, t * share, end, options.step); });
  }
  for (std::thread& thread : threads) thread.join();
  Worst worst;
  for (const Worst& part : parts)
    if (part.ulp > worst.ulp) worst = part;
  return worst;
}

[[noreturn]] void usage() {
  std::fputs("usage: weft_ulp [--step N] [--threads N] [FUNCTION...]\nfunctions:", stderr);
  for (const FloatFunction& f : kFloatFunctions) std::fprintf(stderr, " %s", f.name);
  std::fputc('\n', stderr);
  std::exit(2);
}

std::uint64_t positive_number(const char* text) {
  char* end = nullptr;
  const std::uint64_t value = text == nullptr ? 0 : std::strtoull(text, &end, 10);
  if (value == 0 || *end != '\0' || value > 1'000'000'000) usage();
  return value;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--step") == 0)
      options.step = positive_number(argv[++i]);
    else if (std::strcmp(argv[i], "--threads") == 0)
      options.threads = static_cast<unsigned>(positive_number(argv[++i]));
    else
      options.names.emplace_back(argv[i]);
  }
  for (const std::string& name : options.names) {
    bool known = false;
    for (const FloatFunction& f : kFloatFunctions) known = known || name == f.name;
    if (!known) usage();
  }
  return options;
}

bool wanted(const FloatFunction& f, const Options& options) {
  for (const std::string& name : options.names)
    if (name == f.name) return true;
  return options.names.empty();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  std::printf("%-18s %10s   %s\n", "function", "max ulp", "at");
  for (const FloatFunction& f : kFloatFunctions) {
    if (!wanted(f, options)) continue;
    const Worst worst = sweep_all(f, options);
    std::printf("%-18s %10.3f   %a = %.9g\n", f.name, worst.ulp, double{worst.at},
                double{worst.at});
    std::fflush(stdout);
  }
}
