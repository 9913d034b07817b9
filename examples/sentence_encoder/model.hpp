#pragma once

#include "weights.hpp"
#include <weft/core/activation.hpp>
#include <weft/layer/ffn.hpp>
#include <weft/layer/norm.hpp>
#include <weft/layer/operator.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// Google's Universal Sentence Encoder Lite (Universal Sentence Encoder, arXiv:1803.11175), exactly
/// as the graph in the published model.json computes it.
///
/// A sentence is n token ids, clipped to the first 128. With I = 256, D = 512, F = 1536, 4 heads:
///
///   e_p = embedding[id_p]                              [I]
///   P_p = sin(p w_0), ..., sin(p w_127), cos(p w_0), ..., cos(p w_127),   w_c = 10000^(-c / 127)
///   x   = e + (e + P)        positions are added to the embedding, and the sum is added to it
///   again
///
///   layer 0 reads width I and writes width D:
///     q, k, v = LN(x) Wqkv + bqkv                      [n, I] each, heads of I / 4 = 64 channels
///     a       = softmax(q k^T / sqrt(64)) v            per head, every token sees every token
///     y       = (a Wo + bo) + (x R + r)                the residual is widened by a dense layer
///     z       = y + relu(LN(y) W1 + b1) W2 + b2        W1 [D, F], W2 [F, D]
///   layer 1 is the same at width D, with heads of 128 channels and the plain residual x = z.
///   There is no norm behind the last layer.
///
///   m = sum over tokens / n                            the graph divides by n, not by sqrt(n)
///   t = tanh(m W + b)                                  [D]
///   sentence embedding = t / sqrt(max(sum of squares of t, 1e-12))
///
///   LN(x) = (x - mean) / sqrt(variance + 1e-6) * scale + bias, over the channels of a token
///
/// 9.3 MFLOP per token on 19.7 MB of weights that rows are multiplied by.
///
/// The model is a template of the operator that does these products, so that the same code runs on
/// 8-bit integers (see compress_model). model_parts.hpp makes its parts from weights, model_run.hpp
/// is the rest of the code.
namespace sentence_encoder {

using Dense = weft::DenseOperator<float>;
using Batch = std::span<const std::vector<std::int32_t>>;  ///< token ids
using Offsets = weft::View<const std::int32_t, 1>;  ///< where sentences begin among all tokens
using Activations = weft::View<float, 2>;           ///< one row per token

/// Parameters of a LayerNorm and their memory.
struct Norm {
  weft::Tensor<float, 1> scale, bias;
  float epsilon;

  weft::LayerNorm<float> view() const {
    return {.weight = scale.view(), .bias = bias.view(), .eps = epsilon};
  }
};

template <weft::FusedOperator Op>
struct Layer {
  Norm attention_norm;
  Op qkv;
  Op attention_out;
  Norm hidden_norm;
  weft::FeedForward<Op, weft::Relu> feed_forward;
};

/// What the model consists of.
template <weft::FusedOperator Op>
struct Parts {
  weft::Tensor<float, 2> embedding;
  Op residual;  ///< R and r: widens the residual of layer 0
  std::array<Layer<Op>, 2> layers;
  Op pooled;
  weft::Index heads;
  weft::Index max_tokens;
};

/// A vector of parameters and its name.
struct Parameter {
  std::string name;
  weft::View<float, 1> values;
};

/// The model with its weights in operators.
template <weft::FusedOperator Op>
class BasicSentenceEncoder {
 public:
  /// Throws weft::error when the widths do not split into the heads.
  explicit BasicSentenceEncoder(Parts<Op> parts);

  /// Floats of a sentence embedding.
  weft::Index width() const { return parts_.pooled.rows(); }
  const Parts<Op>& parts() const noexcept { return parts_; }

  /// Writes the embeddings of `sentences` into the rows of out [sentences, width()].
  ///
  /// The tokens of all sentences stand one after another in ragged batches, so no work goes into
  /// padding. Results depend neither on what else is in the call, nor on the number of threads,
  /// where those of the operators do not.
  /// Throws weft::error on a wrong shape of out or an id outside the vocabulary, before anything
  /// is written. A sentence without tokens is valid: its mean m is 0.
  void encode(Batch sentences, weft::View<float, 2> out, const weft::Context& ctx = {}) const;

  /// Calls f(name, operator, norm) for every operator, in the order in which they are applied.
  /// f may put another one of the same sizes in its place. `norm` are the parameters [cols] of the
  /// LayerNorm whose result it alone reads (std::vector<Parameter>), empty where there is none.
  template <class F>
  void for_each_linear(F f) {
    const std::vector<Parameter> none;
    f(std::string("residual"), parts_.residual, none);
    for (std::size_t l = 0; l < parts_.layers.size(); ++l) {
      Layer<Op>& layer = parts_.layers[l];
      const std::string name = "layers." + std::to_string(l) + ".";
      const auto norm = [&](const char* which, Norm& n) -> std::vector<Parameter> {
        return {{name + which + ".scale", n.scale.view()}, {name + which + ".bias", n.bias.view()}};
      };
      f(name + "qkv", layer.qkv, norm("attention_norm", layer.attention_norm));
      f(name + "attention_out", layer.attention_out, none);
      f(name + "hidden_in", layer.feed_forward.in(), norm("hidden_norm", layer.hidden_norm));
      f(name + "hidden_out", layer.feed_forward.down(), none);
    }
    f(std::string("pooled"), parts_.pooled, none);
  }

 private:
  weft::Index tokens_of(const std::vector<std::int32_t>& sentence) const;
  void check(Batch sentences, const weft::View<float, 2>& out) const;
  void encode_group(Batch sentences, weft::View<float, 2> out, const weft::Context& ctx) const;

  Parts<Op> parts_;
  weft::Tensor<float, 2> positions_;  // [longest sentence, I]
};

extern template class BasicSentenceEncoder<Dense>;

/// The model in floats.
class SentenceEncoder : public BasicSentenceEncoder<Dense> {
 public:
  /// Copies what it needs. Throws as BasicSentenceEncoder does.
  explicit SentenceEncoder(const Weights& weights);
};

}  // namespace sentence_encoder
