#include "report.hpp"

#include <weft/core/gemm.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <iomanip>
#include <ostream>
#include <span>
#include <utility>

namespace sentence_encoder {

namespace {

using weft::Index;

constexpr Index kMatrixSentences = 16;
constexpr std::size_t kPairs = 5;

struct Pair {
  float similarity;
  Index a, b;

  bool operator<(const Pair& other) const { return similarity > other.similarity; }
};

template <class Number>
void print_numbers(std::ostream& out, std::span<const Number> numbers) {
  const char* separator = "";
  out << '[';
  for (Number number : numbers) {
    char text[32];
    const char* end = std::to_chars(text, text + sizeof text, number).ptr;
    out << std::exchange(separator, ", ");
    out.write(text, end - text);
  }
  out << ']';
}

void print_pieces(std::ostream& out, const Tokenizer& tokenizer, const Sentences& sentences) {
  for (std::size_t i = 0; i < sentences.texts.size(); ++i) {
    out << std::setw(4) << i + 1 << "  " << sentences.texts[i] << "\n     ";
    for (std::int32_t id : sentences.ids[i]) out << ' ' << tokenizer.text_of(id);
    out << '\n';
  }
}

void print_matrix(std::ostream& out, weft::View<const float, 2> similarities) {
  const Index n = std::min(kMatrixSentences, similarities.extent(1));
  out << "\nCosine similarity\n     ";
  for (Index j = 0; j < n; ++j) out << std::setw(7) << j + 1;
  out << '\n' << std::fixed << std::setprecision(3);
  for (Index i = 0; i < n; ++i) {
    out << std::setw(5) << i + 1;
    for (Index j = 0; j < n; ++j) out << std::setw(7) << similarities(i, j);
    out << '\n';
  }
}

/// Keeps the kPairs best of what it has and the pairs (first + i, j > first + i).
void collect_pairs(weft::View<const float, 2> similarities, Index first, std::vector<Pair>& best) {
  for (Index i = 0; i < similarities.extent(0); ++i) {
    for (Index j = first + i + 1; j < similarities.extent(1); ++j) {
      const Pair pair{similarities(i, j), first + i, j};
      if (best.size() == kPairs && !(pair < best.back())) continue;
      best.insert(std::upper_bound(best.begin(), best.end(), pair), pair);
      if (best.size() > kPairs) best.pop_back();
    }
  }
}

}  // namespace

void print_json(std::ostream& out, const Sentences& sentences,
                weft::View<const float, 2> embeddings) {
  for (std::size_t i = 0; i < sentences.texts.size(); ++i) {
    const float* row = embeddings.pointer(static_cast<Index>(i));
    out << "{\"text\": " << nlohmann::json(sentences.texts[i]).dump() << ", \"token_ids\": ";
    print_numbers(out, std::span(sentences.ids[i]));
    out << ", \"embedding\": ";
    print_numbers(out, std::span(row, static_cast<std::size_t>(embeddings.extent(1))));
    out << "}\n";
  }
}

void print_report(std::ostream& out, const Tokenizer& tokenizer, const Sentences& sentences,
                  weft::View<const float, 2> embeddings, const weft::Context& ctx) {
  print_pieces(out, tokenizer, sentences);
  const Index count = embeddings.extent(0);
  if (count < 2) return;
  constexpr Index block = 256;  // rows of the matrix of similarities that exist at a time
  weft::Tensor<float, 2> rows({std::min(block, count), count});
  std::vector<Pair> best;
  for (Index first = 0; first < count; first += block) {
    const Index height = std::min(block, count - first);
    const weft::View<float, 2> similarities = rows.view().slice(0, 0, height);
    weft::gemm(embeddings.slice(0, first, height), embeddings.transpose(0, 1), similarities, ctx);
    if (first == 0) print_matrix(out, similarities);
    collect_pairs(similarities, first, best);
  }
  out << "\nMost similar\n";
  for (const Pair& pair : best) {
    out << "  " << pair.similarity << "  " << sentences.texts[static_cast<std::size_t>(pair.a)]
        << "  |  " << sentences.texts[static_cast<std::size_t>(pair.b)] << '\n';
  }
}

}  // namespace sentence_encoder
