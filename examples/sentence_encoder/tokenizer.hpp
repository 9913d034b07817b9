#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sentence_encoder {

/// One entry of a vocabulary; its position there is its id.
struct Piece {
  std::string text;  ///< UTF-8; U+2581 stands for a space
  double score;      ///< log probability
};

/// Reads `[["text", score], ...]`; a score of null counts as 0, as it does in JavaScript
/// arithmetic. Throws weft::error naming the file when it is missing or says anything else.
std::vector<Piece> load_vocabulary(const std::filesystem::path& file);

/// Reserved symbols, the space mark and the printable ASCII characters, all equally likely: for
/// models without a trained vocabulary.
std::vector<Piece> ascii_vocabulary();

/// Splits text into the pieces of a unigram vocabulary (SentencePiece, arXiv:1808.06226) exactly as
/// the JavaScript tokenizer published with the Universal Sentence Encoder Lite does:
///
///   1. Unicode normalisation form NFKC; U+2581 goes before the text and replaces every U+0020.
///   2. Viterbi: among all ways to write the text as a sequence of pieces, the one with the largest
///      sum of scores; of two equal ones the one whose last piece is shorter. Where no piece
///      begins, one code point becomes the unknown piece, id 0, at no cost. A sum of exactly 0
///      counts as "nothing found yet", which the published program cannot tell apart.
///   3. A run of unknown pieces becomes one.
///
/// The first six ids are reserved symbols and match no text; of equal pieces the last one counts.
/// Time O(length * longest piece).
class Tokenizer {
 public:
  /// Throws weft::error when there is nothing beyond the reserved symbols, or on invalid UTF-8.
  explicit Tokenizer(std::vector<Piece> vocabulary);

  /// The ids of a sentence, none for an empty one. Throws weft::error on invalid UTF-8.
  std::vector<std::int32_t> encode(std::string_view sentence) const;

  const std::string& text_of(std::int32_t id) const {
    return pieces_.at(static_cast<std::size_t>(id)).text;
  }
  std::size_t size() const noexcept { return pieces_.size(); }

 private:
  using Symbols = std::vector<std::int32_t>;  // code points

  /// What a node of the trie stands for, when it ends a piece (length > 0).
  struct Node {
    std::int32_t id = 0;
    std::size_t length = 0;
    double score = 0.0;
  };

  /// Ends of the best segmentation of each prefix of a text.
  struct Path {
    double score = 0.0;
    std::int32_t id = 0;
    std::size_t length = 1;

    void offer(const Path& other) {
      if (score == 0.0 || other.score >= score) *this = other;
    }
  };

  void insert(std::int32_t id);
  std::size_t child(std::size_t node, std::int32_t symbol) const;
  std::vector<Path> best_paths(const Symbols& text) const;

  std::vector<Piece> pieces_;
  std::vector<Node> nodes_;
  std::unordered_map<std::uint64_t, std::size_t> children_;  // (node, symbol) -> node
};

}  // namespace sentence_encoder
