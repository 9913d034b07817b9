#include "model.hpp"

#include "model_run.hpp"

namespace sentence_encoder {

template class BasicSentenceEncoder<Dense>;

}  // namespace sentence_encoder
