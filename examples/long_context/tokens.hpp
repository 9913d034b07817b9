#pragma once

#include <weft/core/random.hpp>
#include <weft/core/tensor.hpp>

#include <cmath>
#include <cstdint>
#include <span>

namespace long_context {

using weft::Index;
using weft::Tensor;
using weft::View;

inline constexpr Index kHeads = 4, kDim = 64;

/// What a layer would make of bytes: queries, keys, values and gates, here from tables that are
/// drawn at random, one row per byte value.
class Tokens {
 public:
  explicit Tokens(Index most)
      : q({1, kHeads, most, kDim}),
        k({1, kHeads, most, kDim}),
        v({1, kHeads, most, kDim}),
        channel_decay({1, kHeads, most, kDim}),
        decay({1, kHeads, most}),
        beta({1, kHeads, most}) {
    weft::Philox random(1);
    for (auto* table : {&q_, &k_, &v_}) random.normal(table->span());
    for (float& x : k_.span()) x /= std::sqrt(static_cast<float>(kDim));
    random.uniform(gates_.span());
  }

  /// The first text.size() tokens become those of the text.
  void read(std::span<const std::uint8_t> text) {
    for (Index h = 0; h < kHeads; ++h)
      for (std::size_t i = 0; i < text.size(); ++i) {
        const auto t = static_cast<Index>(i);
        const Index byte = text[i];
        std::copy_n(q_.view().pointer(byte, h), kDim, q.view().pointer(0, h, t));
        std::copy_n(k_.view().pointer(byte, h), kDim, k.view().pointer(0, h, t));
        std::copy_n(v_.view().pointer(byte, h), kDim, v.view().pointer(0, h, t));
        const float gate = gates_(byte, h);
        beta(0, h, t) = gate;
        decay(0, h, t) = -0.05f * gate;
        std::fill_n(channel_decay.view().pointer(0, h, t), kDim, -0.05f * gate);
      }
  }

  Tensor<float, 4> q, k, v, channel_decay;  ///< [1, heads, tokens, channels]
  Tensor<float, 3> decay, beta;             ///< [1, heads, tokens]

 private:
  Tensor<float, 3> q_{{256, kHeads, kDim}}, k_{{256, kHeads, kDim}}, v_{{256, kHeads, kDim}};
  Tensor<float, 2> gates_{{256, kHeads}};
};

}  // namespace long_context
