#pragma once

#include "model_parts.hpp"
#include <weft/attention/softmax.hpp>
#include <weft/layer/embedding.hpp>
#include <weft/layer/residual.hpp>
#include <weft/position/sinusoidal.hpp>

#include <algorithm>

/// The code of BasicSentenceEncoder, to be included where it is instantiated for an operator.
namespace sentence_encoder {

namespace detail {

/// Tokens that pass through the layers together, whole sentences: more would push the activations
/// out of the second-level cache, fewer would fetch the weights more often.
inline constexpr weft::Index kGroupTokens = 512;

inline Activations take(weft::Arena& arena, weft::Index rows, weft::Index cols) {
  return {arena.take<float>(rows * cols), {rows, cols}};
}

/// x = 2 e + P for the tokens of all sentences, whose positions begin at 0 in each.
inline void look_up(weft::View<const float, 2> embedding, weft::View<const float, 2> positions,
                    Batch sentences, Offsets offsets, Activations x, const weft::Context& ctx) {
  const weft::Arena::Frame frame(ctx.arena());
  const weft::Index tokens = x.extent(0);
  const weft::View<std::int32_t, 1> ids(ctx.arena().take<std::int32_t>(tokens), {tokens});
  for (std::size_t s = 0; s < sentences.size(); ++s) {
    const auto sentence = static_cast<weft::Index>(s);
    std::copy_n(sentences[s].data(), offsets(sentence + 1) - offsets(sentence),
                ids.pointer(offsets(sentence)));
  }
  weft::embed(embedding, ids, x, ctx, 2.f);
  for (weft::Index s = 0; s + 1 < offsets.extent(0); ++s) {
    const weft::Index first = offsets(s), count = offsets(s + 1) - first;
    weft::add_residual(x.slice(0, first, count), positions.slice(0, 0, count), ctx);
  }
}

/// attended = attention of LN(x), before its output projection. The tokens of sentence s are the
/// rows offsets(s) to offsets(s + 1).
template <class Op>
void attend(const Layer<Op>& layer, weft::Index heads, weft::View<const float, 2> x,
            Offsets offsets, Activations attended, const weft::Context& ctx) {
  const weft::Arena::Frame frame(ctx.arena());
  const weft::Index tokens = x.extent(0), width = x.extent(1), channels = width / heads;
  const Activations normed = take(ctx.arena(), tokens, width);
  const Activations qkv = take(ctx.arena(), tokens, 3 * width);
  weft::normalize(layer.attention_norm.view(), x, normed, ctx);
  layer.qkv.apply(normed, qkv, ctx);

  const auto split = [&](const Activations& rows) {
    return weft::View<float, 3>(rows.data(), {tokens, heads, channels},
                                {rows.stride(0), channels, 1});
  };
  const auto part = [&](weft::Index i) { return split(qkv.slice(1, i * width, width)); };
  weft::forward_ragged(weft::Softmax<>{}, part(0), part(1), part(2), offsets, offsets,
                       split(attended), ctx);
}

/// y = x + attention of LN(input) and its projection, then z = y + feed-forward layer of LN(y),
/// both in place of x.
template <class Op>
void add_layer(const Layer<Op>& layer, weft::Index heads, weft::View<const float, 2> input,
               Offsets offsets, Activations x, const weft::Context& ctx) {
  const weft::Arena::Frame frame(ctx.arena());
  const Activations attended = take(ctx.arena(), input.extent(0), input.extent(1));
  attend(layer, heads, input, offsets, attended, ctx);
  layer.attention_out.apply(attended, x, weft::AddResidual{x}, ctx);
  weft::pre_norm_block(layer.hidden_norm.view(), layer.feed_forward, x, ctx);
}

/// means[s] = mean of the rows of sentence s, 0 where it has none.
inline void average(weft::View<const float, 2> rows, Offsets offsets, Activations means,
                    const weft::Context& ctx) {
  ctx.parallel(means.extent(0), [&](weft::Index s, weft::Arena&) {
    float* mean = means.pointer(s);
    std::fill_n(mean, means.extent(1), 0.f);
    for (weft::Index row = offsets(s); row < offsets(s + 1); ++row) {
      const float* token = rows.pointer(row);
      for (weft::Index c = 0; c < means.extent(1); ++c) mean[c] += token[c];
    }
    const weft::Index tokens = std::max<weft::Index>(1, offsets(s + 1) - offsets(s));
    for (weft::Index c = 0; c < means.extent(1); ++c) mean[c] /= static_cast<float>(tokens);
  });
}

}  // namespace detail

template <weft::FusedOperator Op>
BasicSentenceEncoder<Op>::BasicSentenceEncoder(Parts<Op> parts)
    : parts_(std::move(parts)), positions_({parts_.max_tokens, parts_.embedding.extent(1)}) {
  for (const Layer<Op>& layer : parts_.layers) {
    const weft::Index width = layer.qkv.cols();
    weft::require(parts_.heads > 0 && width % parts_.heads == 0, "a width of ", width,
                  " channels does not split into ", parts_.heads, " heads");
  }
  constexpr weft::Sinusoids kind{.layout = weft::Sinusoids::Layout::concatenated,
                                 .spacing = weft::Sinusoids::Spacing::closed};
  weft::sinusoidal_positions(kind, positions_.view());
}

template <weft::FusedOperator Op>
void BasicSentenceEncoder<Op>::encode(Batch sentences, weft::View<float, 2> out,
                                      const weft::Context& ctx) const {
  check(sentences, out);
  for (std::size_t begin = 0; begin < sentences.size();) {
    std::size_t end = begin;
    weft::Index tokens = 0;
    while (end < sentences.size() &&
           (end == begin || tokens + tokens_of(sentences[end]) <= detail::kGroupTokens)) {
      tokens += tokens_of(sentences[end++]);
    }
    const weft::Index first = static_cast<weft::Index>(begin),
                      count = static_cast<weft::Index>(end - begin);
    encode_group(sentences.subspan(begin, end - begin), out.slice(0, first, count), ctx);
    begin = end;
  }
}

template <weft::FusedOperator Op>
weft::Index BasicSentenceEncoder<Op>::tokens_of(const std::vector<std::int32_t>& sentence) const {
  return std::min(static_cast<weft::Index>(sentence.size()), positions_.extent(0));
}

template <weft::FusedOperator Op>
void BasicSentenceEncoder<Op>::check(Batch sentences, const weft::View<float, 2>& out) const {
  const weft::Index count = static_cast<weft::Index>(sentences.size());
  weft::require(out.extent(0) == count && out.extent(1) == width(), "encode: out is ",
                weft::shape_text(out), ", wanted [", count, ", ", width(), "]");
  for (std::size_t s = 0; s < sentences.size(); ++s) {
    for (std::int32_t id : sentences[s]) {
      weft::require(id >= 0 && id < parts_.embedding.extent(0), "encode: sentence ", s,
                    " has the token id ", id, ", the vocabulary has ", parts_.embedding.extent(0));
    }
  }
}

template <weft::FusedOperator Op>
void BasicSentenceEncoder<Op>::encode_group(Batch sentences, weft::View<float, 2> out,
                                            const weft::Context& ctx) const {
  weft::Arena& arena = ctx.arena();
  const weft::Arena::Frame frame(arena);
  const weft::Index count = out.extent(0);
  const weft::View<std::int32_t, 1> offsets(arena.take<std::int32_t>(count + 1), {count + 1});
  offsets(0) = 0;
  for (weft::Index s = 0; s < count; ++s) {
    offsets(s + 1) =
        offsets(s) + static_cast<std::int32_t>(tokens_of(sentences[static_cast<std::size_t>(s)]));
  }
  const weft::Index tokens = offsets(count);
  const Activations input = detail::take(arena, tokens, parts_.embedding.extent(1));
  const Activations x = detail::take(arena, tokens, width());
  detail::look_up(parts_.embedding, positions_, sentences, offsets, input, ctx);
  parts_.residual.apply(input, x, ctx);
  detail::add_layer(parts_.layers[0], parts_.heads, input, offsets, x, ctx);
  detail::add_layer(parts_.layers[1], parts_.heads, x, offsets, x, ctx);

  const Activations means = detail::take(arena, count, width());
  detail::average(x, offsets, means, ctx);
  parts_.pooled.apply(means, out, weft::Activate<weft::Tanh>{}, ctx);
  weft::normalize(weft::L2Norm<float>{.floor = 1e-6f}, out, out, ctx);
}

}  // namespace sentence_encoder
