#include "model.hpp"

#include "model_run.hpp"

namespace sentence_encoder {

template class BasicSentenceEncoder<Dense>;

SentenceEncoder::SentenceEncoder(const Weights& weights)
    : BasicSentenceEncoder(make_parts(
          weights, [](const Matrix& weight, const Vector& bias) { return Dense(weight, bias); })) {}

}  // namespace sentence_encoder
