#pragma once

#include "reference/kv_codes.hpp"
#include "support/catch.hpp"
#include "support/values.hpp"
#include <weft/quant/kv_stream.hpp>

/// Decoding over caches of codes, as their tests share it.
namespace decoding {

using weft::Index;
using weft::Tensor;
using weft::View;
using Values = std::vector<double>;

inline const weft::Softmax kMixer{weft::Causal{weft::Align::bottom_right}};

struct Shape {
  Index B = 1, Hq = 1, Hk = 1, N = 1, D = 1, E = 1;

  weft::CacheSizes cache() const { return {B, Hk, N, D, E}; }
};

/// q, k and v of a whole sequence. With these seeds no number of a test lies so close to the middle
/// between two codes that fp32 and fp64 disagree.
struct Inputs {
  explicit Inputs(const Shape& s)
      : shape(s),
        q(even_values<float, 4>({s.B, s.Hq, s.N, s.D}, 11, -2, 2)),
        k(even_values<float, 4>({s.B, s.Hk, s.N, s.D}, 12, -2, 2)),
        v(even_values<float, 4>({s.B, s.Hk, s.N, s.E}, 13, -2, 2)) {}

  Shape shape;
  Tensor<float, 4> q, k, v;
};

/// Rows [0, n) of one head.
inline reference::Rows rows_of(const Tensor<float, 4>& x, Index b, Index h, Index n) {
  return double_rows(x.view().slice(2, 0, n).select(0, b).select(0, h));
}

/// Feeds all tokens in chunks (prefill), or one by one where a size is 0 (step).
template <class Cache>
Tensor<float, 4> decode(Cache& cache, const Inputs& in, const std::vector<Index>& chunks,
                        const weft::Context& ctx = weft::Context()) {
  const Shape& s = in.shape;
  Tensor<float, 4> out({s.B, s.Hq, s.N, s.E});
  Index at = cache.length();
  for (const Index chunk : chunks) {
    if (chunk == 0) {
      step(kMixer, cache, in.q.view().select(2, at), in.k.view().select(2, at),
           in.v.view().select(2, at), out.view().select(2, at), ctx);
    } else {
      const auto part = [&](const auto& x) { return x.slice(2, at, chunk); };
      prefill(kMixer, cache, part(in.q.view()), part(in.k.view()), part(in.v.view()),
              part(out.view()), ctx);
    }
    at += std::max<Index>(chunk, 1);
    CHECK(cache.length() == at);
  }
  return out;
}

inline std::vector<Index> steps(Index n) {
  return std::vector<Index>(static_cast<std::size_t>(n), 0);
}

/// Largest error of rows [first, N) against attention over seen(k or v rows of the first t + 1
/// tokens, whether keys), relative to the largest output.
template <class Seen>
double error_of_rows(const Tensor<float, 4>& out, const Inputs& in, Index first, const Seen& seen) {
  const Shape& s = in.shape;
  Values got, expected;
  for (Index b = 0; b < s.B; ++b)
    for (Index h = 0; h < s.Hq; ++h)
      for (Index t = first; t < s.N; ++t) {
        const Index kv = h / (s.Hq / s.Hk);
        const auto row = reference::attention_over(
            doubles_of(in.q.view().select(0, b).select(0, h).select(0, t)),
            seen(rows_of(in.k, b, kv, t + 1), true), seen(rows_of(in.v, b, kv, t + 1), false),
            1 / std::sqrt(static_cast<double>(s.D)));
        expected.insert(expected.end(), row.begin(), row.end());
        for (Index e = 0; e < s.E; ++e) got.push_back(out(b, h, t, e));
      }
  return largest_error(got, expected);
}

/// Three bytes hold a query as well as fp32 does; two (more than two rows per KV head) round it and
/// the weights to 2^-16 of the largest, over a few hundred terms of either sign.
inline double tolerance(Index group) { return group <= 2 ? 4e-6 : 2e-4; }

}  // namespace decoding
