/// softmax/...: attention with the tiled online softmax, each row beside unfused/softmax/...
#include "support/inputs.hpp"
#include "support/softmax_cases.hpp"
#include "support/unfused.hpp"
#include <weft/attention/softmax.hpp>

#include <numeric>
#include <vector>

namespace {

using bench::Index;
using bench::Row;
using bench::SoftmaxCase;
using bench::Storage;
using bench::uniform;

template <class S>
struct Tensors {
  weft::Tensor<S, 4> q, k, v, out;

  explicit Tensors(const SoftmaxCase& c)
      : q(uniform<S>({c.batch, c.heads, c.queries, c.key_dim}, 1)),
        k(uniform<S>({c.batch, c.kv_heads, c.keys, c.key_dim}, 2)),
        v(uniform<S>({c.batch, c.kv_heads, c.keys, c.value_dim}, 3)),
        out(uniform<S>({c.batch, c.heads, c.queries, c.value_dim}, 4)) {}
};

template <class S, class Mixer>
void add_fused(const SoftmaxCase& c, const Mixer& mixer) {
  c.row().add([c, mixer](const weft::Context& context) {
    return [mixer, t = Tensors<S>(c), &context]() mutable {
      weft::forward(mixer, t.q, t.k, t.v, t.out, context);
    };
  });
}

template <class S>
void add_unfused(const SoftmaxCase& c) {
  c.row().by("unfused").add([c](const weft::Context& context) {
    return [t = Tensors<S>(c), attend = bench::UnfusedAttention<S>(c.causal), &context]() mutable {
      attend(t.q, t.k, t.v, t.out, context);
    };
  });
}

template <class S, class Products = weft::FullPrecision>
void add(const SoftmaxCase& c) {
  using weft::Causal, weft::NoMask, weft::NoScore, weft::PlainSoftmax, weft::Softmax;
  if (c.causal)
    add_fused<S>(
        c, Softmax<Causal, NoScore, PlainSoftmax, Products>{Causal(weft::Align::bottom_right)});
  else
    add_fused<S>(c, Softmax<NoMask, NoScore, PlainSoftmax, Products>{});
  if (c.threads == 1) add_unfused<S>(c);
}

/// A causal window over a long sequence: the time of what it shows, not of N x N.
void add_window(Index queries, Index left) {
  const SoftmaxCase c{.queries = queries};
  const double pairs = static_cast<double>((left + 1) * queries - left * (left + 1) / 2);
  Row{.name = bench::row_name("softmax/window/forward/f32" + c.sizes(), {{"left", left}}),
      .flops = 4 * pairs * static_cast<double>(c.heads * c.key_dim)}
      .add([=](const weft::Context& context) {
        return [=, &context, t = Tensors<float>(c)]() mutable {
          weft::forward(weft::Softmax{weft::Window{left, 0}}, t.q, t.k, t.v, t.out, context);
        };
      });
}

/// Sequences of these lengths laid end to end. Same work per pair of tokens whatever the lengths:
/// GFLOP/s of rows with the same heads can be compared.
void add_ragged(const char* variant, const std::vector<Index>& lengths) {
  constexpr Index heads = 8, dim = 64;
  std::vector<std::int32_t> ends{0};
  double pairs = 0;
  for (const Index n : lengths) {
    ends.push_back(ends.back() + static_cast<std::int32_t>(n));
    pairs += static_cast<double>(n * n);
  }
  const Index tokens = ends.back();
  const auto name = bench::row_name(std::string("softmax/") + variant + "/forward/f32",
                                    {{"B", static_cast<Index>(lengths.size())},
                                     {"H", heads},
                                     {"tokens", tokens},
                                     {"D", dim},
                                     {"threads", 1}});
  Row{.name = name,
      .flops = 4 * pairs * heads * dim,
      .bytes = 4.0 * 4 * static_cast<double>(tokens * heads * dim)}
      .add([=](const weft::Context& context) {
        return [=, &context, q = uniform<float>({tokens, heads, dim}, 1),
                k = uniform<float>({tokens, heads, dim}, 2),
                v = uniform<float>({tokens, heads, dim}, 3),
                out = uniform<float>({tokens, heads, dim}, 4)]() mutable {
          const auto cu = weft::view_of(std::as_const(ends));
          weft::forward_ragged(weft::Softmax(), q, k, v, cu, cu, out, context);
        };
      });
}

const bench::Rows rows([] {
  for (const SoftmaxCase& c : bench::kSoftmaxCases) {
    if (c.storage == Storage::f32) add<float>(c);
    if (c.storage == Storage::f64) add<double>(c);
    if (c.storage == Storage::bf16) add<weft::bf16>(c);
    if (c.storage == Storage::bf16_products) add<weft::bf16, weft::Bf16Products>(c);
  }
  add_window(4096, 255);
  // 17 to 512 tokens, and as many tokens in sequences of one length.
  std::vector<Index> mixed;
  for (Index i = 0; i < 32; ++i) mixed.push_back(17 + i * i * 495 / 961);
  const Index tokens = std::accumulate(mixed.begin(), mixed.end(), Index{0});
  add_ragged("ragged", mixed);
  add_ragged("ragged_equal", std::vector<Index>(32, tokens / 32));
});

}  // namespace
