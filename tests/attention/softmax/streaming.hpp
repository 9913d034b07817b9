#pragma once

#include "attention/softmax/compare.hpp"
#include "support/catch.hpp"
#include <weft/attention/softmax/stream.hpp>

#include <random>

/// Runs rows of the case table chunk by chunk and compares with forward.
namespace cases {

/// Feeds all tokens in chunks of the given sizes (prefill), or one by one where a size is 0 (step).
template <class T, class S, class Mixer>
std::vector<double> stream(const Mixer& mixer, const AttentionInputs<T>& in,
                           const std::vector<Index>& chunks) {
  const AttentionShape& s = in.shape;
  auto state = weft::make_state<S>(mixer, {s.B, s.Hk, s.M, s.D, s.E});
  const Poisoned<T, 4> out({s.B, s.Hq, s.N, s.E});
  Index at = 0;
  for (const Index chunk : chunks) {
    if (chunk == 0) {
      step(mixer, state, in.q.view().select(2, at), in.k.view().select(2, at),
           in.v.view().select(2, at), out.view().select(2, at));
    } else {
      const auto part = [&](const auto& x) { return x.slice(2, at, chunk); };
      prefill(mixer, state, part(in.q.view()), part(in.k.view()), part(in.v.view()),
              part(out.view()));
    }
    at += std::max<Index>(chunk, 1);
    CHECK(state.length() == at);
  }
  CHECK(at == s.N);
  CHECK(out.guards_intact());
  return doubles_of(out.view());
}

inline std::vector<Index> random_chunks(Index tokens, std::mt19937& random) {
  std::vector<Index> chunks;
  while (tokens > 0) {
    const Index chunk = std::min<Index>(tokens, static_cast<Index>(random() % 60));
    chunks.push_back(chunk);
    tokens -= std::max<Index>(chunk, 1);
  }
  return chunks;
}

/// forward == prefill in any split == step by step.
template <class T, class Row>
void check_stream(const Row& row, const AttentionShape& base) {
  AttentionShape shape = base;
  shape.Hq = shape.Hk * row.group;
  AttentionInputs<T> in(shape);
  const auto mixer = row.mixer(in);
  if constexpr (weft::CausalMask<std::remove_cvref_t<decltype(mixer.mask)>>) {
    if (!mixer.mask.is_causal()) return;
    INFO(row.name << " " << text(shape));
    weft::Tensor<T, 4> out({shape.B, shape.Hq, shape.N, shape.E});
    weft::Tensor<weft::Accumulator<T>, 3> lse({shape.B, shape.Hq, shape.N});
    if constexpr (weft::LseNormalizer<decltype(mixer.normalizer)>)
      forward_with_lse(mixer, in.q, in.k, in.v, out, lse);
    else
      forward(mixer, in.q, in.k, in.v, out);  // lse stays 0: rounding of logits of order one
    const auto whole = doubles_of(out.view());
    const double tolerance = tolerance_of<T>({{}, doubles_of(lse.view()), {}}, row.changes_inputs);
    std::mt19937 random(7);
    std::vector<std::vector<Index>> splits{
        {shape.N}, std::vector<Index>(static_cast<std::size_t>(shape.N), 0)};
    for (int i = 0; i < 4; ++i) splits.push_back(random_chunks(shape.N, random));
    for (const auto& split : splits) {
      CHECK(error_of(stream<T, T>(mixer, in, split), whole) < tolerance);
    }
  }
}

}  // namespace cases
