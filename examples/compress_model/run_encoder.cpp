#include "run_encoder.hpp"

#include "encoder.hpp"
#include "sentence_encoder/tokenizer.hpp"
#include "table.hpp"

#include <fstream>

namespace compress_model {

namespace {

using sentence_encoder::SentenceEncoder;
using sentence_encoder::Tokenizer;

/// The token ids of the lines of a file, without empty ones.
std::vector<Sentence> sentences_of(const std::filesystem::path& path, const Tokenizer& tokenizer) {
  std::ifstream in(path);
  weft::require(in.good() && !std::filesystem::is_directory(path), "cannot open ", path.string());
  std::vector<Sentence> out;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    try {
      out.push_back(tokenizer.encode(line));
    } catch (const weft::error&) {
      weft::fail("line " + std::to_string(number) + " of " + path.string() + " is not valid UTF-8");
    }
  }
  weft::require(!out.empty(), "there is no sentence in ", path.string());
  return out;
}

std::filesystem::path given_or(const std::filesystem::path& given, const char* otherwise) {
  return given.empty() ? otherwise : given;
}

class EncoderTable {
 public:
  EncoderTable(const Options& options, const Context& ctx)
      : options_(options),
        ctx_(ctx),
        weights_(options.random ? random_weights() : sentence_encoder::load_weights(options.model)),
        tokenizer_(options.random
                       ? sentence_encoder::ascii_vocabulary()
                       : sentence_encoder::load_vocabulary(options.model / "vocab.json")),
        sentences_(sentences_of(evaluate_path(), tokenizer_)),
        reference_(weights_),
        sizes_(sizes_in_fp32(reference_, true)),
        expected_(embeddings(reference_)) {}

  void run() {
    print_start();
    if (!options_.load.empty()) return show(load_encoder(options_.load), -1);
    for (Method method : methods_called(options_.methods)) {
      if (options_.group != 0) method.group = options_.group;
      compress_and_show(method);
    }
  }

 private:
  static sentence_encoder::Weights random_weights() {
    const auto pieces = static_cast<Index>(sentence_encoder::ascii_vocabulary().size());
    return sentence_encoder::random_weights({.vocabulary = pieces}, 1);
  }
  std::filesystem::path evaluate_path() const {
    return given_or(options_.evaluate, WEFT_EXAMPLE_DATA "/sentences_test.txt");
  }
  std::filesystem::path calibrate_path() const {
    return given_or(options_.calibrate, WEFT_EXAMPLE_DATA "/sentences_calibration.txt");
  }

  template <class Model>
  Tensor<float, 2> embeddings(const Model& model) const {
    Tensor<float, 2> out({static_cast<Index>(sentences_.size()), model.width()});
    model.encode(sentences_, out, ctx_);
    return out;
  }

  void print_start();
  void compress_and_show(const Method& method);
  void show(const CompressedEncoder& compressed, double seconds) const;

  const Options& options_;
  const Context& ctx_;
  sentence_encoder::Weights weights_;
  Tokenizer tokenizer_;
  std::vector<Sentence> sentences_;
  SentenceEncoder reference_;
  Sizes sizes_;  ///< of the reference
  Tensor<float, 2> expected_;
};

std::string quality(const Fidelity& f) {
  return formatted(" %12.6f %13.6f %11.4f", f.mean_cosine, f.worst_cosine, f.rank_correlation);
}

void EncoderTable::print_start() {
  Index tokens = 0;
  for (const Sentence& s : sentences_) tokens += static_cast<Index>(s.size());
  std::printf(
      "Sentence encoder %s: %.2f M weights in linear layers, compressed; embeddings (%.2f MB) and "
      "norms stay fp32.\n"
      "Compared on %zu sentences (%td tokens) of %s, %d thread%s.\n"
      "cosine: of the embeddings to those in fp32. rank corr.: Spearman's, of the similarities of "
      "all pairs.\n\n",
      options_.random ? "of random weights" : options_.model.c_str(),
      static_cast<double>(sizes_.now.weights) / 1e6,
      static_cast<double>(4 * weights_.embedding.size()) / 1e6, sentences_.size(), tokens,
      evaluate_path().c_str(), options_.threads, options_.threads == 1 ? "" : "s");
  print_head("sentences/s",
             formatted(" %12s %13s %11s", "mean cosine", "worst cosine", "rank corr.").c_str());
  const auto seconds = time_both([&] { embeddings(reference_); }, [] {});
  print_row("fp32", sizes_, static_cast<double>(sentences_.size()) / seconds.first, 1,
            quality(fidelity(expected_, expected_)), -1);
}

void EncoderTable::compress_and_show(const Method& method) {
  std::vector<Sentence> calibration;
  if (method.calibrates()) calibration = sentences_of(calibrate_path(), tokenizer_);
  Progress progress(options_.progress);
  const auto start = std::chrono::steady_clock::now();
  auto compressed = compress_encoder(weights_, method, calibration, ctx_, progress);
  show(compressed, seconds_since(start));
  if (options_.save.empty()) return;
  compressed.save(options_.save);
  const auto before = embeddings(compressed.model);
  const auto after = embeddings(load_encoder(options_.save).model);
  weft::require(std::equal(before.span().begin(), before.span().end(), after.span().begin()),
                options_.save.string(), ": the model that was read back gives other embeddings");
  std::printf("\nSaved to %s (%.3f MB with embeddings) and read back: equal embeddings.\n",
              options_.save.c_str(),
              static_cast<double>(std::filesystem::file_size(options_.save)) / 1e6);
}

void EncoderTable::show(const CompressedEncoder& compressed, double seconds) const {
  weft::require(compressed.model.width() == reference_.width() &&
                    compressed.model.parts().embedding.shape() == weights_.embedding.shape(),
                options_.load.string(), ": a model of other sizes: width ",
                compressed.model.width(), " and ", compressed.model.parts().embedding.extent(0),
                " pieces, wanted ", reference_.width(), " and ", weights_.embedding.extent(0));
  const auto quality_now = quality(fidelity(expected_, embeddings(compressed.model)));
  const auto times =
      time_both([&] { embeddings(reference_); }, [&] { embeddings(compressed.model); });
  print_row(std::string(compressed.method.name), {size_of(compressed.layers), sizes_.fp32_bytes},
            static_cast<double>(sentences_.size()) / times.second, times.first / times.second,
            quality_now, seconds);
}

}  // namespace

void run_encoder(const Options& options, const Context& ctx) { EncoderTable(options, ctx).run(); }

}  // namespace compress_model
