#include "model.hpp"

#include <weft/attention/softmax.hpp>
#include <weft/layer/embedding.hpp>
#include <weft/layer/residual.hpp>
#include <weft/position/sinusoidal.hpp>

#include <algorithm>

namespace sentence_encoder {

namespace {

using weft::Context;
using weft::Index;

/// Tokens that pass through the layers together, whole sentences: more would push the activations
/// out of the second-level cache, fewer would fetch the weights more often.
constexpr Index kGroupTokens = 512;

template <std::size_t Rank>
weft::Tensor<float, Rank> copy(const weft::View<const float, Rank>& from) {
  weft::Tensor<float, Rank> to(from.shape());
  std::copy_n(from.data(), from.size(), to.data());
  return to;
}

/// y = x W + b for W [in, out], as TensorFlow keeps it.
Dense dense(const Matrix& weight, const Vector& bias) {
  return Dense(weight.transpose(0, 1), bias);
}

/// [x y] -> x a + y b + (a_bias + b_bias).
Dense dense_sum(const Matrix& a, const Vector& a_bias, const Matrix& b, const Vector& b_bias) {
  weft::Tensor<float, 2> stacked({a.extent(0) + b.extent(0), a.extent(1)});
  std::copy_n(b.data(), b.size(), std::copy_n(a.data(), a.size(), stacked.data()));
  weft::Tensor<float, 1> bias = copy(a_bias);
  for (Index i = 0; i < bias.size(); ++i) bias(i) += b_bias(i);
  return dense(stacked.view(), bias.view());
}

Layer make_layer(const LayerWeights& w, Dense attention_out, float epsilon) {
  return {{copy(w.attention_norm_scale), copy(w.attention_norm_bias), epsilon},
          dense(w.qkv, w.qkv_bias),
          std::move(attention_out),
          {copy(w.hidden_norm_scale), copy(w.hidden_norm_bias), epsilon},
          {dense(w.hidden_in, w.hidden_in_bias), dense(w.hidden_out, w.hidden_out_bias)}};
}

std::array<Layer, 2> make_layers(const Weights& w) {
  const auto& [first, second] = w.layers;
  return {
      make_layer(
          first,
          dense_sum(first.attention_out, first.attention_out_bias, w.residual, w.residual_bias),
          w.norm_epsilon),
      make_layer(second, dense(second.attention_out, second.attention_out_bias), w.norm_epsilon)};
}

Activations take(weft::Arena& arena, Index rows, Index cols) {
  return {arena.take<float>(rows * cols), {rows, cols}};
}

/// x = 2 e + P for the tokens of all sentences, whose positions begin at 0 in each.
void look_up(weft::View<const float, 2> embedding, weft::View<const float, 2> positions,
             Batch sentences, Offsets offsets, Activations x, const Context& ctx) {
  const weft::Arena::Frame frame(ctx.arena());
  const Index tokens = x.extent(0);
  const weft::View<std::int32_t, 1> ids(ctx.arena().take<std::int32_t>(tokens), {tokens});
  for (std::size_t s = 0; s < sentences.size(); ++s) {
    const auto sentence = static_cast<Index>(s);
    std::copy_n(sentences[s].data(), offsets(sentence + 1) - offsets(sentence),
                ids.pointer(offsets(sentence)));
  }
  weft::embed(embedding, ids, x, ctx, 2.f);
  for (Index s = 0; s + 1 < offsets.extent(0); ++s) {
    const Index first = offsets(s), count = offsets(s + 1) - first;
    weft::add_residual(x.slice(0, first, count), positions.slice(0, 0, count), ctx);
  }
}

/// attended = attention of LN(x), before its output projection. The tokens of sentence s are the
/// rows offsets(s) to offsets(s + 1).
void attend(const Layer& layer, Index heads, weft::View<const float, 2> x, Offsets offsets,
            Activations attended, const Context& ctx) {
  const weft::Arena::Frame frame(ctx.arena());
  const Index tokens = x.extent(0), width = x.extent(1), channels = width / heads;
  const Activations normed = take(ctx.arena(), tokens, width);
  const Activations qkv = take(ctx.arena(), tokens, 3 * width);
  weft::normalize(layer.attention_norm.view(), x, normed, ctx);
  layer.qkv.apply(normed, qkv, ctx);

  const auto split = [&](const Activations& rows) {
    return weft::View<float, 3>(rows.data(), {tokens, heads, channels},
                                {rows.stride(0), channels, 1});
  };
  const auto part = [&](Index i) { return split(qkv.slice(1, i * width, width)); };
  weft::forward_ragged(weft::Softmax<>{}, part(0), part(1), part(2), offsets, offsets,
                       split(attended), ctx);
}

/// means[s] = mean of the rows of sentence s, 0 where it has none.
void average(weft::View<const float, 2> rows, Offsets offsets, Activations means,
             const Context& ctx) {
  ctx.parallel(means.extent(0), [&](Index s, weft::Arena&) {
    float* mean = means.pointer(s);
    std::fill_n(mean, means.extent(1), 0.f);
    for (Index row = offsets(s); row < offsets(s + 1); ++row) {
      const float* token = rows.pointer(row);
      for (Index c = 0; c < means.extent(1); ++c) mean[c] += token[c];
    }
    const Index tokens = std::max<Index>(1, offsets(s + 1) - offsets(s));
    for (Index c = 0; c < means.extent(1); ++c) mean[c] /= static_cast<float>(tokens);
  });
}

}  // namespace

SentenceEncoder::SentenceEncoder(const Weights& w)
    : embedding_(copy(w.embedding)),
      positions_({w.max_tokens, w.embedding.extent(1)}),
      layers_(make_layers(w)),
      pooled_(dense(w.pooled, w.pooled_bias)),
      heads_(w.heads) {
  for (const LayerWeights& layer : w.layers) {
    const Index width = layer.qkv.extent(0);
    weft::require(heads_ > 0 && width % heads_ == 0, "a width of ", width,
                  " channels does not split into ", heads_, " heads");
  }
  constexpr weft::Sinusoids kind{.layout = weft::Sinusoids::Layout::concatenated,
                                 .spacing = weft::Sinusoids::Spacing::closed};
  weft::sinusoidal_positions(kind, positions_.view());
}

void SentenceEncoder::encode(Batch sentences, weft::View<float, 2> out, const Context& ctx) const {
  check(sentences, out);
  for (std::size_t begin = 0; begin < sentences.size();) {
    std::size_t end = begin;
    Index tokens = 0;
    while (end < sentences.size() &&
           (end == begin || tokens + tokens_of(sentences[end]) <= kGroupTokens)) {
      tokens += tokens_of(sentences[end++]);
    }
    const Index first = static_cast<Index>(begin), count = static_cast<Index>(end - begin);
    encode_group(sentences.subspan(begin, end - begin), out.slice(0, first, count), ctx);
    begin = end;
  }
}

Index SentenceEncoder::tokens_of(const std::vector<std::int32_t>& sentence) const {
  return std::min(static_cast<Index>(sentence.size()), positions_.extent(0));
}

void SentenceEncoder::check(Batch sentences, const weft::View<float, 2>& out) const {
  const Index count = static_cast<Index>(sentences.size());
  weft::require(out.extent(0) == count && out.extent(1) == width(), "encode: out is ",
                weft::shape_text(out), ", wanted [", count, ", ", width(), "]");
  for (std::size_t s = 0; s < sentences.size(); ++s) {
    for (std::int32_t id : sentences[s]) {
      weft::require(id >= 0 && id < embedding_.extent(0), "encode: sentence ", s,
                    " has the token id ", id, ", the vocabulary has ", embedding_.extent(0));
    }
  }
}

void SentenceEncoder::encode_group(Batch sentences, weft::View<float, 2> out,
                                   const Context& ctx) const {
  weft::Arena& arena = ctx.arena();
  const weft::Arena::Frame frame(arena);
  const Index count = out.extent(0);
  const weft::View<std::int32_t, 1> offsets(arena.take<std::int32_t>(count + 1), {count + 1});
  offsets(0) = 0;
  for (Index s = 0; s < count; ++s) {
    offsets(s + 1) =
        offsets(s) + static_cast<std::int32_t>(tokens_of(sentences[static_cast<std::size_t>(s)]));
  }
  const Index tokens = offsets(count);
  const Activations x = take(arena, tokens, width());
  first_layer(sentences, offsets, x, ctx);
  second_layer(offsets, x, ctx);

  const Activations means = take(arena, count, width());
  average(x, offsets, means, ctx);
  pooled_.apply(means, out, weft::Activate<weft::Tanh>{}, ctx);
  weft::normalize(weft::L2Norm<float>{.floor = 1e-6f}, out, out, ctx);
}

void SentenceEncoder::first_layer(Batch sentences, Offsets offsets, Activations x,
                                  const Context& ctx) const {
  const weft::Arena::Frame frame(ctx.arena());
  const Index width = embedding_.extent(1);
  const Activations both = take(ctx.arena(), x.extent(0), 2 * width);
  const Activations attended = both.slice(1, 0, width), input = both.slice(1, width, width);
  look_up(embedding_, positions_, sentences, offsets, input, ctx);
  attend(layers_[0], heads_, input, offsets, attended, ctx);
  layers_[0].attention_out.apply(both, x, ctx);
  weft::pre_norm_block(layers_[0].hidden_norm.view(), layers_[0].feed_forward, x, ctx);
}

void SentenceEncoder::second_layer(Offsets offsets, Activations x, const Context& ctx) const {
  const weft::Arena::Frame frame(ctx.arena());
  const Activations attended = take(ctx.arena(), x.extent(0), x.extent(1));
  attend(layers_[1], heads_, x, offsets, attended, ctx);
  layers_[1].attention_out.apply(attended, x, weft::AddResidual{x}, ctx);
  weft::pre_norm_block(layers_[1].hidden_norm.view(), layers_[1].feed_forward, x, ctx);
}

}  // namespace sentence_encoder
