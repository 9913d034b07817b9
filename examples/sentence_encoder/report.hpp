#pragma once

#include "tokenizer.hpp"
#include <weft/core/executor.hpp>
#include <weft/core/view.hpp>

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace sentence_encoder {

/// Lines of the input and the token ids of each.
struct Sentences {
  std::vector<std::string> texts;
  std::vector<std::vector<std::int32_t>> ids;
};

/// One line of JSON per sentence: {"text": "...", "token_ids": [...], "embedding": [...]}. Every
/// float is written with the fewest digits that read back as the same float.
void print_json(std::ostream& out, const Sentences& sentences,
                weft::View<const float, 2> embeddings);

/// For people: the pieces of every sentence, the matrix of cosine similarities of the first 16, and
/// the most similar pairs. embeddings [sentences, D] have length 1.
void print_report(std::ostream& out, const Tokenizer& tokenizer, const Sentences& sentences,
                  weft::View<const float, 2> embeddings, const weft::Context& ctx);

}  // namespace sentence_encoder
