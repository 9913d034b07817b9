#pragma once

#include "inputs.hpp"
#include "row.hpp"

#include <string>
#include <utility>

/// Shapes that mixers of linear time are timed on. Work is counted as that of the state alone, 4 D
/// E operations per token and head whatever the features are, so that rows of a shape compare by
/// time.
namespace bench {

struct LinearCase {
  std::string name;  ///< family/variant
  Index length = 1024;
  Index key_dim = 64;
  Index value_dim = 64;
  Index heads = 16;
  int threads = 1;

  Row row() const {
    return {.name = row_name(name + "/forward/f32", {{"B", 1},
                                                     {"H", heads},
                                                     {"N", length},
                                                     {"D", key_dim},
                                                     {"E", value_dim},
                                                     {"threads", threads}}),
            .flops = 4.0 * static_cast<double>(heads * length * key_dim * value_dim),
            .bytes = 8.0 * static_cast<double>(heads * length * (key_dim + value_dim)),
            .threads = threads};
  }
};

/// q, k, v and out of one call, [1, H, N, D or E].
struct LinearInputs {
  explicit LinearInputs(const LinearCase& c)
      : q(uniform<float>({1, c.heads, c.length, c.key_dim}, 1)),
        k(uniform<float>({1, c.heads, c.length, c.key_dim}, 2)),
        v(uniform<float>({1, c.heads, c.length, c.value_dim}, 3)),
        out({1, c.heads, c.length, c.value_dim}) {}

  weft::Tensor<float, 4> q, k, v, out;
};

/// Times run(inputs, data, context), data being what make() gave.
template <class Make, class Run>
void add_linear(const LinearCase& c, Make make, Run run) {
  c.row().add([=](const weft::Context& context) {
    return
        [in = LinearInputs(c), data = make(), run, &context]() mutable { run(in, data, context); };
  });
}

/// Times forward(mixer, ...).
template <class Mixer>
void add_linear(const LinearCase& c, const Mixer& mixer) {
  add_linear(
      c, [] { return 0; },
      [mixer](LinearInputs& in, int, const weft::Context& context) {
        forward(mixer, in.q, in.k, in.v, in.out, context);
      });
}

}  // namespace bench
