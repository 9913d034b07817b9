// The README's example as a program: causal attention of 8 query heads on 2 key/value heads.

#include <weft/attention/softmax.hpp>

#include <cmath>
#include <cstdio>

namespace {

/// Any numbers, so that there is something to attend to.
void fill(weft::Tensor<float, 4>& tensor, float phase) {
  float t = phase;
  for (float& x : tensor.span()) x = std::sin(t += 0.7f);
}

}  // namespace

int main() {
  // Shapes are [batch, heads, position, channel].
  weft::Tensor<float, 4> q({1, 8, 128, 64}), k({1, 2, 128, 64}), v({1, 2, 128, 64});
  weft::Tensor<float, 4> out({1, 8, 128, 64});
  fill(q, 0.f);
  fill(k, 1.f);
  fill(v, 2.f);

  weft::Softmax causal{weft::Causal{weft::Align::bottom_right}};
  weft::forward(causal, q, k, v, out);

  // The first query sees only the first key, so its output is the first value.
  const double got = out(0, 0, 0, 0), expected = v(0, 0, 0, 0);
  std::printf("out[0, 0, 0, 0] = %.6f, v[0, 0, 0, 0] = %.6f\n", got, expected);
  std::printf("out[0, 7, 127, 63] = %.6f\n", static_cast<double>(out(0, 7, 127, 63)));
  return std::fabs(got - expected) < 1e-6 ? 0 : 1;
}
