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

/// One matrix below the other: [a; b], so that [x y] -> x a + y b.
inline weft::Tensor<float, 2> stack(const Matrix& a, const Matrix& b) {
  weft::Tensor<float, 2> stacked({a.extent(0) + b.extent(0), a.extent(1)});
  std::copy_n(b.data(), b.size(), std::copy_n(a.data(), a.size(), stacked.data()));
  return stacked;
}

inline weft::Tensor<float, 1> sum(const Vector& a, const Vector& b) {
  weft::Tensor<float, 1> both = copy(a);
  for (weft::Index i = 0; i < both.size(); ++i) both(i) += b(i);
  return both;
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
  const auto layer = [&](const LayerWeights& from, const Matrix& out, const Vector& out_bias) {
    return Layer<Op>{
        {detail::copy(from.attention_norm_scale), detail::copy(from.attention_norm_bias),
         w.norm_epsilon},
        linear(from.qkv, from.qkv_bias),
        linear(out, out_bias),
        {detail::copy(from.hidden_norm_scale), detail::copy(from.hidden_norm_bias), w.norm_epsilon},
        {linear(from.hidden_in, from.hidden_in_bias),
         linear(from.hidden_out, from.hidden_out_bias)}};
  };
  const auto& [first, second] = w.layers;
  const auto widened = detail::stack(first.attention_out, w.residual);
  const auto widened_bias = detail::sum(first.attention_out_bias, w.residual_bias);
  return Parts<Op>{detail::copy(w.embedding),
                   {layer(first, widened.view(), widened_bias.view()),
                    layer(second, second.attention_out, second.attention_out_bias)},
                   linear(w.pooled, w.pooled_bias),
                   w.heads,
                   w.max_tokens};
}

}  // namespace sentence_encoder
