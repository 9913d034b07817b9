// weft with -fno-exceptions: an error reaches the function that WEFT_ON_ERROR names.

#include <weft/core/simd.hpp>
#include <weft/core/tensor.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>

void stop_with(const char* message) {
  std::printf("%s\n", message);
  std::exit(std::strstr(message, "negative extent -1") != nullptr ? 0 : 1);
}

int main() {
  weft::Tensor<float, 1> fine({4});
  if (fine.size() != 4) return 1;
  weft::Tensor<float, 1> wrong({-1});
  std::printf("no error was reported\n");
  return 1;
}
