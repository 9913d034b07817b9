/// examples/compress_model: every method on a small random encoder, its file format, and what
/// methods cost the real language model.
#include "compress_model/encoder.hpp"
#include "compress_model/kv_caches.hpp"
#include "compress_model/language_model.hpp"
#include "compress_model/measure.hpp"
#include "compress_model/options.hpp"
#include "generate/softmax_mixer.hpp"
#include "support/catch.hpp"
#include "support/message.hpp"
#include "support/temporary_folder.hpp"

#include <cmath>

namespace {

using namespace compress_model;
namespace fs = std::filesystem;
using Lm = generate::BasicSoftmaxMixer<Linear>;

const Context kContext;

Progress quiet() { return Progress(Progress::When::never); }

sentence_encoder::Weights small_weights() {
  return sentence_encoder::random_weights({100, 64, 128, 192}, 3);
}

std::vector<Sentence> random_sentences(int count, std::uint32_t state) {
  std::vector<Sentence> out(static_cast<std::size_t>(count));
  for (Sentence& ids : out)
    for (std::uint32_t length = 5 + (state >> 8) % 12; ids.size() < length;
         state = state * 1664525u + 1013904223u)
      ids.push_back(static_cast<std::int32_t>((state >> 8) % 100));
  return out;
}

CompressedEncoder small_encoder(const char* method) {
  auto progress = quiet();
  return compress_encoder(small_weights(), method_called(method), random_sentences(40, 1), kContext,
                          progress);
}

template <class Model>
Tensor<float, 2> embeddings(const Model& model) {
  const auto sentences = random_sentences(12, 77);
  Tensor<float, 2> out({12, model.width()});
  model.encode(sentences, out, kContext);
  return out;
}

bool equal(const Tensor<float, 2>& a, const Tensor<float, 2>& b) {
  return std::equal(a.span().begin(), a.span().end(), b.span().begin(), b.span().end());
}

/// What loading a file says after `change(its bytes)`.
template <class Change>
std::string trouble_after(Change change) {
  const TemporaryFolder folder;
  small_encoder("rtn4").save(folder / "model");
  std::string bytes = contents_of(folder / "model");
  change(bytes);
  folder.file("model", bytes);
  return message_of([&] { load_encoder(folder / "model"); });
}

std::string complaint_about(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "compress_model");
  const auto result = parse_options(static_cast<int>(arguments.size()), arguments.data());
  const auto* complaint = std::get_if<Complaint>(&result);
  return complaint == nullptr ? "" : *complaint;
}

/// The language model, its texts, and bits per byte that a method adds to it.
struct RealModel {
  std::shared_ptr<const weft::SafetensorsFile> file =
      std::make_shared<const weft::SafetensorsFile>(WEFT_EXAMPLE_DATA "/softmax.safetensors");
  std::string train = contents_of(WEFT_EXAMPLE_DATA "/kjv_train.txt");
  std::string valid = contents_of(WEFT_EXAMPLE_DATA "/kjv_valid.txt");
  static constexpr Index kPredictions = 4096;

  static std::span<const std::uint8_t> bytes(const std::string& text, std::size_t most) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), std::min(most, text.size())};
  }

  CompressedLanguageModel<Lm> compressed(const char* method) const {
    auto progress = quiet();
    return compress_language_model<Lm>(file, method_called(method), bytes(train, 6144), kContext,
                                       progress);
  }
  double bits(const CompressedLanguageModel<Lm>& model) const {
    return model.bits_per_byte(bytes(valid, valid.size()), kPredictions, kContext);
  }
  double bits_in_floats() const {
    const generate::LanguageModel<generate::SoftmaxMixer> model(*file, 256);
    return generate::bits_per_byte(model, bytes(valid, valid.size()), kPredictions, kContext).bits;
  }
};

}  // namespace

TEST_CASE("compress_model: every method on an encoder, saved and read back", "[examples]") {
  const TemporaryFolder folder;
  const auto expected = embeddings(sentence_encoder::SentenceEncoder(small_weights()));
  for (const Method& method : methods()) {
    INFO(method.name);
    auto small = small_encoder(std::string(method.name).c_str());
    const auto now = embeddings(small.model);
    const double worst = fidelity(expected, now).worst_cosine;
    CHECK(worst > (method.bits == 8 ? 0.99 : method.bits == 4 ? 0.9 : 0.65));
    CHECK(worst < 0.9999999);  // something has been rounded
    const double bits = size_of(small.layers).bits_per_weight();
    CHECK(bits > 4);
    CHECK(bits < (method.bits == 8 ? 9 : 5.5));

    small.save(folder / "model");
    const auto again = load_encoder(folder / "model");
    CHECK(again.method.name == method.name);
    CHECK(size_of(again.layers).bytes == size_of(small.layers).bytes);
    CHECK(equal(embeddings(again.model), now));
  }
}

TEST_CASE("compress_model: damaged files of an encoder are refused", "[examples][errors]") {
  CHECK(trouble_after([](std::string&) {}).empty());
  CHECK(contains(trouble_after([](std::string& b) { b.back() = static_cast<char>(b.back() ^ 1); }),
                 "the file is damaged"));
  CHECK(contains(trouble_after([](std::string& b) {
                   const auto at = b.find("\"rtn4\"");
                   b.replace(at, 6, "\"awq4\"");
                 }),
                 "the file is damaged"));
  CHECK_FALSE(trouble_after([](std::string& b) { b.resize(b.size() - 100); }).empty());
  CHECK_FALSE(trouble_after([](std::string& b) { b.resize(20); }).empty());
  CHECK_FALSE(trouble_after([](std::string& b) { b.clear(); }).empty());
}

TEST_CASE("compress_model: files of something else are refused", "[examples][errors]") {
  const TemporaryFolder folder;
  CHECK(contains(message_of([&] { load_encoder(WEFT_EXAMPLE_DATA "/softmax.safetensors"); }),
                 "format is weft-lm, wanted weft-compressed"));
  CHECK_FALSE(message_of([&] { load_encoder(folder / "nobody"); }).empty());
  small_encoder("int8").save(folder / "encoder");
  CHECK(contains(message_of([&] { load_language_model<Lm>(folder / "encoder", "softmax"); }),
                 "a model of kind \"sentence_encoder\", wanted softmax"));

  const auto linear_of = [&](auto change, Index rows, Index cols) {
    CompressedEncoder encoder = small_encoder("rtn4");
    CompressedLinear& layer = encoder.layers.at("pooled");
    change(layer);
    ArchiveWriter writer("sentence_encoder", layer.method);
    writer.add("pooled", layer);
    writer.save(folder / "layer");
    const Archive archive(folder / "layer");
    return message_of([&] { archive.linear("pooled", rows, cols).make_operator(); });
  };
  CHECK(linear_of([](auto&) {}, 128, 128).empty());
  CHECK(contains(linear_of([](auto&) {}, 128, 130), "\"pooled.codes\" is [128, 64]"));
  CHECK(contains(linear_of([](auto& l) { l.scale(3, 1) = NAN; }, 128, 128),
                 "\"pooled.scale\" has a nan"));
  CHECK(contains(linear_of([](auto& l) { l.bias = Tensor<float, 1>({7}); }, 128, 128),
                 "\"pooled.bias\" is [7]"));
  const Archive archive(folder / "layer");
  CHECK(contains(message_of([&] { archive.linear("nobody", 1, 1); }), "no such tensor"));
  CHECK(contains(message_of([&] { load_encoder(folder / "layer"); }),
                 "no metadata entry \"vocabulary\""));
}

TEST_CASE("compress_model: what methods cost the language model", "[examples]") {
  const RealModel real;
  const double floats = real.bits_in_floats();
  const auto cost = [&](const char* method) { return real.bits(real.compressed(method)) - floats; };
  CHECK(std::abs(cost("int8")) <= 0.002);
  const double rtn4 = cost("rtn4"), gptq4 = cost("gptq4");
  CHECK(rtn4 > 0.005);
  CHECK(gptq4 < rtn4);
  const double rtn3 = cost("rtn3"), gptq3 = cost("gptq3");
  CHECK(rtn3 > 0.05);
  CHECK(gptq3 <= 0.6 * rtn3);
}

TEST_CASE("compress_model: what caches cost the language model", "[examples]") {
  const RealModel real;
  const double floats = real.bits_in_floats();
  const auto measured = [&](const CacheKind& kind) {
    return kind.measure(*real.file, RealModel::bytes(real.valid, real.valid.size()),
                        RealModel::kPredictions, kContext);
  };
  const CacheCost fp32 = measured(cache_kinds().front());
  CHECK(fp32.targets == RealModel::kPredictions);
  CHECK(std::abs(fp32.bits - floats) < 1e-5);  // byte by byte, or windows at once
  for (const CacheKind& kind : cache_kinds().subspan(1)) {
    INFO(kind.name);
    const CacheCost cost = measured(kind);
    CHECK(cost.bytes < fp32.bytes / 2);
    CHECK(cost.bits - fp32.bits < (kind.name == "int8" ? 0.002 : 0.03));
  }
}

TEST_CASE("compress_model: a language model saved and read back", "[examples]") {
  const TemporaryFolder folder;
  const RealModel real;
  for (const char* method : {"int8", "awq4"}) {
    INFO(method);
    auto model = real.compressed(method);
    const double bits = real.bits(model);
    model.save(folder / "model");
    auto again = load_language_model<Lm>(folder / "model", "softmax");
    CHECK(real.bits(again) == bits);
    again.save(folder / "again");
    CHECK(contents_of(folder / "again") == contents_of(folder / "model"));
    CHECK(contains(message_of([&] { load_language_model<Lm>(folder / "model", "deltanet"); }),
                   "kind \"softmax\", wanted deltanet"));
  }
}

TEST_CASE("compress_model: a source operator notes its inputs when asked to", "[examples]") {
  Tensor<float, 2> weight({2, 3}), x({2, 3}), y({2, 2});
  for (Index i = 0; i < 6; ++i) x.data()[i] = weight.data()[i] = static_cast<float>(i);
  SourceOperator op(weight.view());
  op.apply(x.view(), y.view());
  CHECK(op.inputs().size() == 0);
  op.note_inputs();
  op.apply(x.view(), y.view());
  op.apply(x.view().slice(0, 1, 1), y.view().slice(0, 0, 1));
  REQUIRE(op.inputs().extent(0) == 3);
  CHECK(op.inputs()(2, 0) == 3.f);
  CHECK(y(0, 1) == 50.f);
}

TEST_CASE("compress_model: rank correlation and cosines", "[examples]") {
  const double a[] = {1, 2, 3, 4}, squares[] = {1, 4, 9, 16}, down[] = {4, 3, 2, 1},
               ties[] = {1, 1, 2, 2};
  CHECK(rank_correlation(a, squares) == Approx(1));
  CHECK(rank_correlation(a, down) == Approx(-1));
  CHECK(rank_correlation(a, ties) == Approx(4 / std::sqrt(20.)));
  CHECK(std::isnan(rank_correlation(std::span(a).first(1), std::span(a).first(1))));

  Tensor<float, 2> x({2, 2}), y({2, 2});
  x(0, 0) = x(1, 1) = y(0, 0) = y(1, 0) = y(1, 1) = 1;
  const auto f = fidelity(x, y);
  CHECK(f.worst_cosine == Approx(std::sqrt(0.5)));
  CHECK(f.mean_cosine == Approx((1 + std::sqrt(0.5)) / 2));
}

TEST_CASE("compress_model: the command line", "[examples]") {
  CHECK(complaint_about({}).empty());
  CHECK(complaint_about({"--method", "int8,gptq4", "--model", "m", "--group", "64"}).empty());
  CHECK(contains(complaint_about({"--method", "int7"}), "there is no method \"int7\""));
  CHECK(complaint_about({"--kv", "int8,kivi4"}).empty());
  CHECK(contains(complaint_about({"--kv", "int9"}), "there is no cache \"int9\""));
  CHECK(contains(complaint_about({"--kv", "all", "--random"}), "--kv is for a language model"));
  CHECK(contains(complaint_about({"--methods", "int8"}), "unknown argument --methods"));
  CHECK(contains(complaint_about({"--model"}), "--model needs a value"));
  CHECK(contains(complaint_about({"--group", "6"}), "multiple of 4"));
  CHECK(contains(complaint_about({"--threads", "0"}), "--threads is 0"));
  CHECK(contains(complaint_about({"--random", "--model", "m"}), "either --model or --random"));
  CHECK(contains(complaint_about({"--save", "f"}), "--save needs one --method"));
  CHECK(contains(complaint_about({"--method", "int8", "--save", "f", "--load", "f"}),
                 "either --save or --load"));
  for (const Method& method : methods()) CHECK(contains(usage(), std::string(method.name)));
  for (const CacheKind& kind : cache_kinds()) CHECK(contains(usage(), std::string(kind.name)));
}
