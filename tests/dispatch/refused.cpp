// Built only for an extension that no processor in use has (XOP, gone since 2017): the program must
// end with a sentence and exit code 1.

#include "kernels.hpp"

#include <weft_dispatch.hpp>

#include <cstdio>

int main() {
  try {
    const float one[] = {1.f};
    const auto result = weft::dispatch([&]<class Isa>() { return report<Isa>(one, one); });
    std::printf("dot %g\n", result.dot);
  } catch (const weft::error& e) {
    std::printf("%s\n", e.what());
    return 1;
  }
}
