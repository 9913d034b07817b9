// Two and more instruction sets in one program: each must be right, and what they share must be the
// copy of the lowest.

#include "kernels.hpp"

#include <weft_dispatch.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

namespace {

int failures = 0;

void expect(bool ok, const char* isa, const char* what) {
  std::printf("%s %s: %s\n", ok ? "ok  " : "FAIL", isa, what);
  failures += ok ? 0 : 1;
}

struct Inputs {
  std::vector<float> a, b;
  double dot = 0, magnitude = 0;
};

Inputs make_inputs(std::size_t n) {
  Inputs in;
  for (std::size_t i = 0; i < n; ++i) {
    in.a.push_back(std::sin(static_cast<float>(i)));
    in.b.push_back(std::cos(static_cast<float>(3 * i)));
    const double product = static_cast<double>(in.a[i]) * static_cast<double>(in.b[i]);
    in.dot += product;
    in.magnitude += std::fabs(product);
  }
  return in;
}

/// Recursive summation in fp32 over n / width steps, so n eps is a safe bound at any width.
bool close(const Inputs& in, double got) {
  const double eps = 1.2e-7;
  return std::fabs(got - in.dot) <= eps * static_cast<double>(in.a.size()) * in.magnitude;
}

template <class Isa>
void check(const Inputs& in, int width) {
  if (!Isa::supported()) {
    std::printf("skip %s: not on this machine\n", Isa::name);
    return;
  }
  const Report r = report<Isa>(in.a, in.b);
  expect(close(in, r.dot), Isa::name, "dot product agrees with the double-precision one");
  expect(r.vector_floats == width, Isa::name, "uses the registers of its instruction set");
  expect(r.shared_floats == 4, Isa::name, "shares the baseline copy of an inline function");
}

}  // namespace

int main() {
  const Inputs in = make_inputs(1003);
  check<weft::isa::x86_64_v2>(in, 4);
  check<weft::isa::x86_64_v3>(in, 8);
  check<weft::isa::x86_64_v4>(in, 16);

  const char* chosen = weft::dispatch([]<class Isa>() { return Isa::name; });
  const char* highest = weft::isa::x86_64_v4::supported()   ? "x86-64-v4"
                        : weft::isa::x86_64_v3::supported() ? "x86-64-v3"
                                                            : "x86-64-v2";
  expect(std::string(chosen) == highest, chosen, "is chosen as the highest supported");
  return failures == 0 ? 0 : 1;
}
