// What a stranger's first program costs to compile: one fp32 causal forward. Timed by .ci/run.

#include <weft/attention/softmax.hpp>

void attend(weft::View<const float, 4> q, weft::View<const float, 4> k,
            weft::View<const float, 4> v, weft::View<float, 4> out) {
  weft::forward(weft::Softmax{weft::Causal{weft::Align::bottom_right}}, q, k, v, out);
}
