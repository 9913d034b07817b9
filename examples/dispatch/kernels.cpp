// Compiled once for each instruction set in CMakeLists.txt; WEFT_DISPATCH_ARCH is its name.

#include "kernels.hpp"

#include <weft/attention/softmax.hpp>

#include <weft_dispatch.hpp>

template <>
void attend<weft::isa::WEFT_DISPATCH_ARCH>(weft::View<const float, 4> q,
                                           weft::View<const float, 4> k,
                                           weft::View<const float, 4> v, weft::View<float, 4> out) {
  weft::forward(weft::Softmax{weft::Causal{weft::Align::bottom_right}}, q, k, v, out);
}
