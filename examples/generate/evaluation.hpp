#pragma once

#include "language_model.hpp"

#include <algorithm>
#include <cmath>

namespace generate {

/// -log2 of the probability that softmax(logits) gives to `byte`.
inline double surprise(View<const float, 1> logits, std::uint8_t byte) {
  double largest = logits(0);
  for (Index i = 1; i < logits.extent(0); ++i) largest = std::max(largest, double{logits(i)});
  double sum = 0;
  for (Index i = 0; i < logits.extent(0); ++i) sum += std::exp(double{logits(i)} - largest);
  return (std::log(sum) + largest - double{logits(byte)}) / std::log(2.0);
}

struct BitsPerByte {
  double bits = 0;    ///< mean of -log2 p over the predicted bytes
  Index targets = 0;  ///< how many
};

/// How a window of text is read: at once, or byte by byte, as it is when the model writes.
enum class Reading { prefill, step };

/// Measures a model on a text. It is read in windows of the model's context c, each from an empty
/// state: window w reads the bytes from c w on and predicts the byte after each of them, until
/// `limit` bytes are predicted (0: to the end). Throws when there is nothing to predict.
template <class M>
BitsPerByte bits_per_byte(const LanguageModel<M>& model, std::span<const std::uint8_t> text,
                          Index limit, const Context& ctx, Reading how = Reading::prefill) {
  weft::require(text.size() >= 2, "a text of ", text.size(),
                " bytes has nothing to predict; at least 2 are needed");
  const auto available = static_cast<Index>(text.size()) - 1;
  const Index targets = limit == 0 ? available : std::min(limit, available);
  const Index context = model.sizes().context;
  Tensor<float, 2> logits({context, kVocabulary});
  double bits = 0;
  for (Index first = 0; first < targets; first += context) {
    const Index count = std::min(context, targets - first);
    auto state = model.make_state();
    const auto window = text.subspan(static_cast<std::size_t>(first));
    if (how == Reading::prefill)
      model.prefill(state, window.first(static_cast<std::size_t>(count)),
                    logits.view().slice(0, 0, count), ctx);
    else
      for (Index t = 0; t < count; ++t)
        model.step(state, window[static_cast<std::size_t>(t)], logits.view().slice(0, t, 1), ctx);
    for (Index t = 0; t < count; ++t) {
      bits += surprise(logits.view().select(0, t), window[static_cast<std::size_t>(t + 1)]);
    }
  }
  return {bits / static_cast<double>(targets), targets};
}

}  // namespace generate
