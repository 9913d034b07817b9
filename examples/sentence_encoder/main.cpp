/// Embeds sentences with Google's Universal Sentence Encoder Lite. See options.hpp for the command
/// line and model.hpp for the model.
#include "model.hpp"
#include "options.hpp"
#include "report.hpp"
#include "tokenizer.hpp"
#include "weights.hpp"
#include <weft/core/thread_pool.hpp>

#include <chrono>
#include <fstream>
#include <iostream>
#include <limits>

namespace {

using namespace sentence_encoder;
using weft::Index;

constexpr std::size_t kBatch = 64;  // sentences that are encoded and printed together with --json

struct Model {
  Tokenizer tokenizer;
  SentenceEncoder encoder;
};

Model make_model(const Options& options) {
  if (options.random) {
    Tokenizer tokenizer(ascii_vocabulary());
    const Sizes sizes{static_cast<Index>(tokenizer.size()), 32, 64, 192};
    return {std::move(tokenizer), SentenceEncoder(random_weights(sizes, 1))};
  }
  // The weights first: their message says best what is wrong with a folder.
  SentenceEncoder encoder(load_weights(options.model));
  return {Tokenizer(load_vocabulary(options.model / "vocab.json")), std::move(encoder)};
}

/// The lines of a file or of the standard input, without empty ones.
class Input {
 public:
  explicit Input(const std::filesystem::path& path)
      : name_(path == "-" ? "standard input" : path.string()) {
    if (path == "-") return;
    file_.open(path);
    weft::require(file_.good() && !std::filesystem::is_directory(path), "cannot open ", name_);
  }

  /// The next `most` sentences, fewer at the end. Throws at a line that is not UTF-8.
  Sentences take(std::size_t most, const Tokenizer& tokenizer) {
    std::istream& in = file_.is_open() ? file_ : std::cin;
    Sentences sentences;
    for (std::string line; sentences.texts.size() < most && std::getline(in, line);) {
      ++number_;
      if (line.ends_with('\r')) line.pop_back();
      if (line.empty()) {
        std::cerr << "sentence_encoder: warning: " << place() << " is empty, skipped\n";
        continue;
      }
      sentences.ids.push_back(encode(line, tokenizer));
      sentences.texts.push_back(std::move(line));
    }
    return sentences;
  }

  const std::string& name() const { return name_; }

 private:
  std::string place() const { return "line " + std::to_string(number_) + " of " + name_; }

  std::vector<std::int32_t> encode(const std::string& line, const Tokenizer& tokenizer) const {
    try {
      return tokenizer.encode(line);
    } catch (const weft::error&) {
      weft::fail(place() + " is not valid UTF-8");
    }
  }

  std::string name_;
  std::ifstream file_;
  int number_ = 0;
};

weft::Tensor<float, 2> embed(const Model& model, const Sentences& sentences,
                             const weft::Context& ctx) {
  weft::Tensor<float, 2> out({static_cast<Index>(sentences.texts.size()), model.encoder.width()});
  model.encoder.encode(sentences.ids, out, ctx);
  return out;
}

void report(const Model& model, const Sentences& sentences, const weft::Context& ctx) {
  const auto start = std::chrono::steady_clock::now();
  const weft::Tensor<float, 2> embeddings = embed(model, sentences, ctx);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  print_report(std::cout, model.tokenizer, sentences, embeddings, ctx);
  std::cout << "\nEmbedded " << sentences.texts.size() << " sentences in " << time.count()
            << " ms.\n";
}

void run(const Options& options) {
  const Model model = make_model(options);
  weft::ThreadPool pool(options.threads);
  const weft::Context ctx(pool);
  Input input(options.input);
  const std::size_t most = options.json ? kBatch : std::numeric_limits<std::size_t>::max();

  Sentences sentences = input.take(most, model.tokenizer);
  weft::require(!sentences.texts.empty(), "there is no sentence in ", input.name());
  if (!options.json) return report(model, sentences, ctx);
  while (!sentences.texts.empty()) {
    print_json(std::cout, sentences, embed(model, sentences, ctx));
    sentences = input.take(most, model.tokenizer);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = parse_options(argc, argv);
  if (const auto* complaint = std::get_if<Complaint>(&parsed)) {
    std::cerr << "sentence_encoder: " << *complaint << "\n\n" << kUsage;
    return 2;
  }
  const auto& options = std::get<Options>(parsed);
  if (options.help) {
    std::cout << kUsage;
    return 0;
  }
  try {
    run(options);
    std::cout.flush();
    weft::require(std::cout.good(), "cannot write to the standard output");
    return 0;
  } catch (const std::exception& trouble) {
    std::cerr << "sentence_encoder: " << trouble.what() << '\n';
    return 1;
  }
}
