#include "tokenizer.hpp"

#include <weft/core/check.hpp>

#include <nlohmann/json.hpp>
#include <utf8proc.h>

#include <algorithm>
#include <fstream>

namespace sentence_encoder {

namespace {

constexpr std::size_t kReserved = 6;
constexpr std::int32_t kUnknown = 0;
constexpr std::int32_t kSpace = 0x20;
constexpr std::int32_t kSpaceMark = 0x2581;
constexpr std::size_t kNoNode = 0;  // the root is nobody's child

std::vector<std::int32_t> nfkc(std::string_view text) {
  static_assert(sizeof(utf8proc_int32_t) == sizeof(std::int32_t));
  constexpr auto options =
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE);
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  const auto decomposed = utf8proc_decompose(bytes, size, nullptr, 0, options);
  weft::require(decomposed >= 0, "the text is not valid UTF-8");
  std::vector<std::int32_t> symbols(static_cast<std::size_t>(decomposed));
  utf8proc_decompose(bytes, size, symbols.data(), decomposed, options);
  const auto composed = utf8proc_normalize_utf32(symbols.data(), decomposed, options);
  symbols.resize(static_cast<std::size_t>(composed));
  return symbols;
}

std::vector<std::int32_t> code_points(std::string_view text) {
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  std::vector<std::int32_t> symbols;
  while (left > 0) {
    std::int32_t symbol = 0;
    const auto used = utf8proc_iterate(at, left, &symbol);
    weft::require(used > 0, "a piece of the vocabulary is not valid UTF-8");
    symbols.push_back(symbol);
    at += used;
    left -= used;
  }
  return symbols;
}

Piece piece_of(const nlohmann::json& entry) {
  const auto& score = entry.at(1);
  return {entry.at(0).get<std::string>(), score.is_null() ? 0.0 : score.get<double>()};
}

}  // namespace

std::vector<Piece> load_vocabulary(const std::filesystem::path& file) {
  std::ifstream in(file);
  weft::require(in.good(), "cannot open the vocabulary ", file.string());
  try {
    const auto entries = nlohmann::json::parse(in);
    std::vector<Piece> pieces;
    std::transform(entries.begin(), entries.end(), std::back_inserter(pieces), piece_of);
    return pieces;
  } catch (const nlohmann::json::exception& cause) {
    weft::fail(file.string() + ": not a vocabulary of [text, score] pairs: " + cause.what());
  }
}

std::vector<Piece> ascii_vocabulary() {
  std::vector<Piece> pieces{{"\xEF\xBF\xBD", 0.0}, {"<s>", 0.0}, {"</s>", 0.0}};
  for (int i = 1; i <= 3; ++i) pieces.push_back({"extra_token_id_" + std::to_string(i), 0.0});
  constexpr double score = -4.56;  // log(1 / 95)
  pieces.push_back({"\xE2\x96\x81", score});
  for (char c = '!'; c <= '~'; ++c) pieces.push_back({std::string(1, c), score});
  return pieces;
}

Tokenizer::Tokenizer(std::vector<Piece> vocabulary) : pieces_(std::move(vocabulary)), nodes_(1) {
  weft::require(pieces_.size() > kReserved, "the vocabulary has ", pieces_.size(),
                " pieces, wanted the ", kReserved, " reserved ones and more");
  for (std::size_t id = kReserved; id < pieces_.size(); ++id) insert(static_cast<std::int32_t>(id));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view sentence) const {
  Symbols text = nfkc(sentence);
  if (text.empty()) return {};
  std::replace(text.begin(), text.end(), kSpace, kSpaceMark);
  text.insert(text.begin(), kSpaceMark);

  const std::vector<Path> paths = best_paths(text);
  std::vector<std::int32_t> ids;
  for (std::size_t end = text.size(); end > 0; end -= paths[end].length) {
    const std::int32_t id = paths[end].id;
    const bool in_unknown_run = id == kUnknown && !ids.empty() && ids.back() == kUnknown;
    if (!in_unknown_run) ids.push_back(id);
  }
  std::reverse(ids.begin(), ids.end());
  return ids;
}

void Tokenizer::insert(std::int32_t id) {
  const Piece& piece = pieces_[static_cast<std::size_t>(id)];
  const Symbols symbols = code_points(piece.text);
  std::size_t node = 0;
  for (std::int32_t symbol : symbols) {
    const auto key = static_cast<std::uint64_t>(node) << 32 | static_cast<std::uint32_t>(symbol);
    const auto [entry, added] = children_.try_emplace(key, nodes_.size());
    if (added) nodes_.emplace_back();
    node = entry->second;
  }
  nodes_[node] = {id, symbols.size(), piece.score};
}

std::size_t Tokenizer::child(std::size_t node, std::int32_t symbol) const {
  const auto key = static_cast<std::uint64_t>(node) << 32 | static_cast<std::uint32_t>(symbol);
  const auto entry = children_.find(key);
  return entry == children_.end() ? kNoNode : entry->second;
}

std::vector<Tokenizer::Path> Tokenizer::best_paths(const Symbols& text) const {
  std::vector<Path> paths(text.size() + 1);
  for (std::size_t begin = 0; begin < text.size(); ++begin) {
    const double score = paths[begin].score;
    bool found = false;
    std::size_t node = 0;
    for (std::size_t i = begin; i < text.size(); ++i) {
      node = child(node, text[i]);
      if (node == kNoNode) break;
      const Node& piece = nodes_[node];
      if (piece.length == 0) continue;
      paths[i + 1].offer({score + piece.score, piece.id, piece.length});
      found = true;
    }
    if (!found) paths[begin + 1].offer({score, kUnknown, 1});
  }
  return paths;
}

}  // namespace sentence_encoder
