// error: files hold bool, integers, fp16, bf16, float and double

#include <weft/io/safetensors.hpp>

void add(weft::SafetensorsWriter& writer) {
#if defined(WEFT_WRONG)
  writer.add("x", weft::Tensor<long double, 1>({3}));
#else
  writer.add("x", weft::Tensor<double, 1>({3}));
#endif
}
