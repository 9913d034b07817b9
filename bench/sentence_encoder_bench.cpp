/// example/sentence_encoder/...: the whole encoder at its published sizes, one sentence and a
/// ragged batch. The weights are random, so the rows need no download; only their sizes matter
/// here.
#include "sentence_encoder/model.hpp"
#include "support/row.hpp"

#include <numeric>
#include <vector>

namespace {

using bench::Index;
using sentence_encoder::Sizes;
using Sentence = std::vector<std::int32_t>;

const sentence_encoder::SentenceEncoder& encoder() {
  static const sentence_encoder::SentenceEncoder model(sentence_encoder::random_weights({}, 1));
  return model;
}

std::vector<Sentence> sentences_of(const std::vector<Index>& lengths) {
  std::vector<Sentence> sentences;
  std::int32_t id = 0;
  for (Index length : lengths) {
    Sentence& sentence = sentences.emplace_back();
    for (Index i = 0; i < length; ++i) sentence.push_back(id = (id + 997) % 8002);
  }
  return sentences;
}

double weights_per_token() {
  const Sizes n;
  const auto layer = [&](Index in) { return in * 3 * in + in * n.wide + 2 * n.wide * n.hidden; };
  return static_cast<double>(layer(n.narrow) + n.narrow * n.wide + layer(n.wide));
}

/// Two operations per weight and token, the same for the last layer and each sentence; logits and
/// weighted sums of both layers.
double flops(const std::vector<Index>& lengths) {
  const Sizes n;
  double total = 0;
  for (Index length : lengths) {
    const auto tokens = static_cast<double>(length);
    total += 2 * tokens * weights_per_token() + 2 * static_cast<double>(n.wide * n.wide) +
             4 * tokens * tokens * static_cast<double>(n.narrow + n.wide);
  }
  return total;
}

void add(const char* name, const std::vector<Index>& lengths, int threads) {
  const Index tokens = std::accumulate(lengths.begin(), lengths.end(), Index{0});
  bench::Row{.name = bench::row_name(name, {{"tokens", tokens}, {"threads", threads}}),
             .flops = flops(lengths),
             .threads = threads}
      .add([lengths](const weft::Context& context) {
        return [&context, sentences = sentences_of(lengths),
                out = weft::Tensor<float, 2>(
                    {static_cast<Index>(lengths.size()), encoder().width()})]() mutable {
          encoder().encode(sentences, out, context);
        };
      });
}

/// 64 lengths from 4 to 28, 16 in the mean, in no order.
std::vector<Index> batch_lengths() {
  std::vector<Index> lengths;
  for (Index i = 0; i < 64; ++i) lengths.push_back(4 + i * 7 % 25);
  return lengths;
}

const bench::Rows rows([] {
  for (const int threads : {1, 2}) {
    add("example/sentence_encoder/single", {12}, threads);
    add("example/sentence_encoder/batch64", batch_lengths(), threads);
  }
  add("example/sentence_encoder/single", {128}, 1);
});

}  // namespace
