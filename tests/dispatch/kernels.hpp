#pragma once

#include <span>

/// What each build of kernels.cpp says about itself and computes.
struct Report {
  int vector_floats;  ///< floats in a register of the build
  int shared_floats;  ///< floats in a register of the build whose copy of `shared_width` is called
  double dot;
};

/// One definition per instruction set, see kernels.cpp.
template <class Isa>
Report report(std::span<const float> a, std::span<const float> b);

/// Inline and without an Arch in its name, as std::vector's functions are: every object that calls
/// it brings a copy, compiled for its own instruction set, and the linker keeps one.
[[gnu::noinline]] inline int shared_width() {
#if defined(__AVX512F__)
  return 16;
#elif defined(__AVX__)
  return 8;
#else
  return 4;
#endif
}
