// What every consumer project compiles: enough of weft to need its include folders and xsimd's.

#include <weft/core/simd.hpp>
#include <weft/core/tensor.hpp>

#include <cstdio>

int main() {
  weft::Tensor<float, 2> x({2, 3});
  x(1, 2) = 5.f;
  const auto doubled = weft::Vec<float>(x(1, 2)) * 2.f;
  std::printf("%g\n", static_cast<double>(doubled.get(0)));
  return doubled.get(0) == 10.f ? 0 : 1;
}
