#pragma once

#include "inputs.hpp"
#include "lengths.hpp"
#include "row.hpp"

#include <string>
#include <utility>

/// Shapes that mixers of linear time are timed on. Work is counted as that of the state alone, 4 D
/// E operations per token and head whatever the features are, so that rows of a shape compare by
/// time. Each variant has a row crossover/<variant> besides: see lengths.hpp.
namespace bench {

/// What a mixer stands for: attention to what came before, to all tokens, or none of these.
enum class StandsFor { causal, full, nothing };

struct LinearCase {
  std::string name;  ///< family/variant
  Index length = 1024;
  Index key_dim = 64;
  Index value_dim = 64;
  Index heads = 16;
  int threads = 1;
  StandsFor stands_for = StandsFor::causal;

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

/// Times run(inputs, data, context), data being what make(case) gave.
template <class Make, class Run>
void add_linear(const LinearCase& c, Make make, Run run) {
  const auto prepare = [=](const LinearCase& of, const weft::Context& context) {
    return [in = LinearInputs(of), data = make(of), run, &context]() mutable {
      run(in, data, context);
    };
  };
  c.row().add([=](const weft::Context& context) { return prepare(c, context); });
  if (c.stands_for == StandsFor::nothing || c.length != 1024) return;
  const Attention other{c.heads, c.key_dim, c.value_dim, c.stands_for == StandsFor::causal};
  add_crossover(c.name, other, [=](Index length, const weft::Context& context) {
    LinearCase of = c;
    of.length = length;
    return shared_call(prepare(of, context));
  });
}

/// Times forward(mixer, ...).
template <class Mixer>
void add_linear(const LinearCase& c, const Mixer& mixer) {
  add_linear(
      c, [](const LinearCase&) { return 0; },
      [mixer](LinearInputs& in, int, const weft::Context& context) {
        forward(mixer, in.q, in.k, in.v, in.out, context);
      });
}

}  // namespace bench
