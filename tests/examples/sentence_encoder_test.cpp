/// examples/sentence_encoder: the tokenizer and the model against what the published JavaScript
/// runtime computes (tests/data/sentence_encoder), the model against a plain reference.
#include "sentence_encoder/model.hpp"
#include "sentence_encoder/tokenizer.hpp"
#include "sentence_encoder_reference.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/values.hpp"
#include <weft/core/thread_pool.hpp>

#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>

namespace {

using namespace sentence_encoder;
using nlohmann::json;
using weft::Index;
using Ids = std::vector<std::int32_t>;

const std::filesystem::path kData = WEFT_TEST_DATA "/sentence_encoder";

/// Lines {"text", "token_ids", "embedding" or nothing}.
std::vector<json> published_rows() {
  std::ifstream in(kData / "published.jsonl");
  std::vector<json> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(json::parse(line));
  return rows;
}

/// The pieces of the published vocabulary that occur in the published rows, at their own ids. What
/// stands at the others occurs nowhere.
std::vector<Piece> published_pieces() {
  std::ifstream in(kData / "pieces.json");
  std::vector<Piece> pieces;
  for (const json& entry : json::parse(in)) {
    pieces.resize(entry[0].get<std::size_t>(), {"<not in this test>", 0.0});
    pieces.push_back(
        {entry[1].get<std::string>(), entry[2].is_null() ? 0.0 : entry[2].get<double>()});
  }
  return pieces;
}

Tokenizer tokenizer_of(std::vector<Piece> pieces) {
  std::vector<Piece> all(6, {"<reserved>", 0.0});
  all.insert(all.end(), pieces.begin(), pieces.end());
  return Tokenizer(all);
}

/// A random model whose biases and scales are random, too.
Weights random_model() {
  Weights weights = random_weights({100, 32, 64, 192}, 7);
  std::uint64_t seed = 1;
  for (auto& tensor : weights.storage) {
    const auto noise = even_values<float>(tensor.shape(), ++seed, -0.2, 0.2);
    for (Index i = 0; i < tensor.size(); ++i) tensor(i) += noise(i);
  }
  return weights;
}

/// Sentences of these lengths with ids in [0, 100).
std::vector<Ids> random_sentences(const std::vector<std::size_t>& lengths) {
  std::vector<Ids> sentences;
  std::uint32_t state = 12345;
  for (std::size_t length : lengths) {
    Ids& ids = sentences.emplace_back();
    for (; ids.size() < length; state = state * 1664525u + 1013904223u) {
      ids.push_back(static_cast<std::int32_t>((state >> 8) % 100));
    }
  }
  return sentences;
}

weft::Tensor<float, 2> embeddings(const SentenceEncoder& encoder, const std::vector<Ids>& sentences,
                                  const weft::Context& ctx = {}) {
  weft::Tensor<float, 2> out({static_cast<Index>(sentences.size()), encoder.width()});
  encoder.encode(sentences, out, ctx);
  return out;
}

}  // namespace

TEST_CASE("the tokenizer gives the published ids") {
  const Tokenizer tokenizer(published_pieces());
  const auto rows = published_rows();
  REQUIRE(rows.size() == 15);
  for (const json& row : rows) {
    INFO(row["text"]);
    CHECK(tokenizer.encode(row["text"].get<std::string>()) == row["token_ids"].get<Ids>());
  }
}

TEST_CASE("the tokenizer takes the segmentation with the best sum of scores") {
  const std::string mark = "\xE2\x96\x81";
  const Tokenizer tokenizer =
      tokenizer_of({{mark, -1}, {"a", -2}, {"b", -2}, {"ab", -3}, {"abb", -6.5}, {"c", -1}});
  CHECK(tokenizer.encode("") == Ids{});
  CHECK(tokenizer.encode("ab") == Ids{6, 9});
  CHECK(tokenizer.encode("abb") == Ids{6, 9, 8});
  CHECK(tokenizer.encode("a c") == Ids{6, 7, 6, 11});
  CHECK(tokenizer.encode("xyaz") == Ids{6, 0, 7, 0});

  SECTION("of equal sums the one with the shorter last piece") {
    CHECK(tokenizer_of({{mark, -1}, {"a", -1}, {"b", -1}, {"ab", -2}}).encode("ab") ==
          Ids{6, 7, 8});
  }
  SECTION("of equal pieces the last") {
    CHECK(tokenizer_of({{mark, -1}, {"a", -1}, {"a", -9}}).encode("a") == Ids{6, 8});
  }
  SECTION("a sum of zero counts as nothing found") {
    // "b" scores -1 and would lose against "ab", whose sum is 0.
    CHECK(tokenizer_of({{mark, -1}, {"a", -1}, {"ab", 1}, {"b", -1}}).encode("ab") == Ids{6, 7, 9});
  }
}

TEST_CASE("the tokenizer refuses what is not UTF-8 and an empty vocabulary") {
  const Tokenizer tokenizer(ascii_vocabulary());
  for (const char* text : {"\xFF", "a\xC3", "\xC0\xAF", "\xED\xA0\x80", "\xF5\x80\x80\x80"}) {
    CHECK(contains(message_of([&] { tokenizer.encode(text); }), "not valid UTF-8"));
  }
  CHECK(contains(message_of([] { Tokenizer({{"a", 0}}); }), "wanted the 6 reserved"));
  CHECK(contains(message_of([] { tokenizer_of({{"\xFF", 0}}); }), "piece of the vocabulary"));
}

TEST_CASE("the ASCII vocabulary knows all printable characters") {
  const Tokenizer tokenizer(ascii_vocabulary());
  std::string text;
  for (char c = '!'; c <= '~'; ++c) text += c;
  const Ids ids = tokenizer.encode(text);
  REQUIRE(ids.size() == 95);
  CHECK(std::count(ids.begin(), ids.end(), 0) == 0);
  CHECK(tokenizer.text_of(ids.back()) == "~");
}

TEST_CASE("the encoder agrees with the reference on ragged batches") {
  const Weights weights = random_model();
  const SentenceEncoder encoder(weights);
  // 128 tokens are the most that count; 129 and 500 are clipped; together more than one group.
  const auto sentences = random_sentences({1, 2, 12, 7, 128, 129, 500, 31, 64, 120, 100, 3});
  const auto out = embeddings(encoder, sentences);
  for (std::size_t s = 0; s < sentences.size(); ++s) {
    INFO("sentence of " << sentences[s].size() << " tokens");
    const auto row = out.view().slice(0, static_cast<Index>(s), 1);
    // Rounding errors of some hundred terms in each of ten products that feed one another.
    CHECK(largest_error(doubles_of(row), reference::sentence_embedding(weights, sentences[s])) <
          500 * static_cast<double>(std::numeric_limits<float>::epsilon()));
  }
}

TEST_CASE("an embedding depends neither on its neighbours nor on the threads") {
  const SentenceEncoder encoder(random_model());
  const auto sentences = random_sentences({5, 128, 1, 40, 128, 77, 128, 128, 12});
  const auto together = doubles_of(embeddings(encoder, sentences).view());
  weft::ThreadPool pool(3);
  CHECK(doubles_of(embeddings(encoder, sentences, weft::Context(pool)).view()) == together);
  std::vector<double> alone;
  for (const Ids& sentence : sentences) {
    const auto row = doubles_of(embeddings(encoder, {sentence}).view());
    alone.insert(alone.end(), row.begin(), row.end());
  }
  CHECK(alone == together);
}

TEST_CASE("the encoder accepts sentences without tokens") {
  const SentenceEncoder encoder(random_model());
  const auto sentences = random_sentences({0, 3, 0});
  const auto out = embeddings(encoder, sentences);
  double length = 0;
  for (Index c = 0; c < encoder.width(); ++c) {
    CHECK(out(0, c) == out(2, c));
    length += static_cast<double>(out(0, c)) * static_cast<double>(out(0, c));
  }
  CHECK(std::abs(length - 1) < 1e-6);
  CHECK(embeddings(encoder, {}).size() == 0);
}

TEST_CASE("the encoder refuses wrong arguments and writes nothing") {
  const SentenceEncoder encoder(random_model());
  weft::Tensor<float, 2> out({1, encoder.width()});
  const auto encode = [&](const std::vector<Ids>& sentences) {
    return message_of([&] { encoder.encode(sentences, out); });
  };
  CHECK(contains(encode({{1}, {2}}), "wanted [2, "));
  CHECK(contains(encode({{1, 100}}), "token id 100"));
  CHECK(contains(encode({{-1}}), "token id -1"));
  CHECK(std::all_of(out.span().begin(), out.span().end(), [](float x) { return x == 0; }));

  Weights weights = random_model();
  weights.heads = 5;
  CHECK(contains(message_of([&] { SentenceEncoder refused(weights); }), "5 heads"));
}

TEST_CASE("the published model gives the published embeddings", "[.published]") {
  if (!std::filesystem::exists(WEFT_USE_LITE)) {
    WARN("skipped: there is no model in " WEFT_USE_LITE);
    return;
  }
  const std::filesystem::path folder = WEFT_USE_LITE;
  const SentenceEncoder encoder(load_weights(folder));
  const Tokenizer tokenizer(load_vocabulary(folder / "vocab.json"));
  std::vector<Ids> sentences;
  std::vector<double> expected;
  for (const json& row : published_rows()) {
    const Ids ids = tokenizer.encode(row["text"].get<std::string>());
    CHECK(ids == row["token_ids"].get<Ids>());
    if (!row.contains("embedding")) continue;
    sentences.push_back(ids);
    for (double x : row["embedding"]) expected.push_back(x);
  }
  const auto out = doubles_of(embeddings(encoder, sentences).view());
  REQUIRE(out.size() == expected.size());
  for (std::size_t i = 0; i < out.size(); ++i) REQUIRE(std::abs(out[i] - expected[i]) < 2e-6);
}
