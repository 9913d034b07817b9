// weft with -fno-exceptions: an error reaches the function that WEFT_ON_ERROR names.

#include <weft/attention/softmax.hpp>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

void stop_with(const char* message) {
  std::printf("%s\n", message);
  std::exit(std::strstr(message, "negative extent -1") != nullptr ? 0 : 1);
}

int main() {
  weft::Tensor<float, 4> x({1, 1, 2, 4}), out({1, 1, 2, 4});
  x(0, 0, 0, 0) = x(0, 0, 1, 0) = 3.f;
  weft::forward(weft::Softmax{}, x, x, x, out);
  if (std::fabs(out(0, 0, 1, 0) - 3.f) > 1e-5f) return 1;
  weft::Tensor<float, 1> wrong({-1});
  std::printf("no error was reported\n");
  return 1;
}
