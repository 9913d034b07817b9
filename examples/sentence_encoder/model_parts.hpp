#pragma once

#include "model.hpp"

#include <algorithm>

/// From the weights of the sentence encoder to its operators.
namespace sentence_encoder {

namespace detail {

template <std::size_t Rank>
weft::Tensor<float, Rank> copy(const weft::View<const float, Rank>& from) {
  weft::Tensor<float, Rank> to(from.shape());
  std::copy_n(from.data(), from.size(), to.data());
  return to;
}

}  // namespace detail

/// The parts of a model whose operators are make(weight [out, in], bias [out]). TensorFlow keeps
/// weights as [in, out], so these views have strides.
template <class Make>
auto make_parts(const Weights& w, Make make) {
  using Op = decltype(make(Matrix{}, Vector{}));
  const auto linear = [&](const Matrix& weight, const Vector& bias) {
    return make(weight.transpose(0, 1), bias);
  };
  const auto norm = [&](const Vector& scale, const Vector& bias) {
    return Norm{detail::copy(scale), detail::copy(bias), w.norm_epsilon};
  };
  const auto layer = [&](const LayerWeights& from) {
    return Layer<Op>{norm(from.attention_norm_scale, from.attention_norm_bias),
                     linear(from.qkv, from.qkv_bias),
                     linear(from.attention_out, from.attention_out_bias),
                     norm(from.hidden_norm_scale, from.hidden_norm_bias),
                     {linear(from.hidden_in, from.hidden_in_bias),
                      linear(from.hidden_out, from.hidden_out_bias)}};
  };
  return Parts<Op>{detail::copy(w.embedding),
                   linear(w.residual, w.residual_bias),
                   {layer(w.layers[0]), layer(w.layers[1])},
                   linear(w.pooled, w.pooled_bias),
                   w.heads,
                   w.max_tokens};
}

}  // namespace sentence_encoder
