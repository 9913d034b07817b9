#include "run_language_model.hpp"

#include "generate/deltanet_mixer.hpp"
#include "generate/softmax_mixer.hpp"
#include "kv_caches.hpp"
#include "language_model.hpp"
#include "table.hpp"

#include <fstream>
#include <iterator>

namespace compress_model {

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes contents_of(const std::filesystem::path& given, const char* otherwise) {
  const std::filesystem::path path = given.empty() ? otherwise : given;
  std::ifstream in(path, std::ios::binary);
  weft::require(in.good() && !std::filesystem::is_directory(path), "cannot open ", path.string());
  Bytes text{std::istreambuf_iterator<char>(in), {}};
  weft::require(!text.empty(), path.string(), " is empty");
  return text;
}

/// `Published` is the mixer of the model as it is, `Mixer` that of the compressed one.
template <class Published, class Mixer>
class LanguageModelTable {
 public:
  using File = std::shared_ptr<const weft::SafetensorsFile>;

  LanguageModelTable(const Options& options, File file, const Context& ctx)
      : options_(options),
        ctx_(ctx),
        file_(std::move(file)),
        text_(contents_of(options.evaluate, WEFT_EXAMPLE_DATA "/kjv_valid.txt")),
        reference_(*file_, generate::sizes_of(*file_).context),
        sizes_(sizes_in_fp32(reference_, false)),
        expected_(generate::bits_per_byte(reference_, std::span(text_), options.limit, ctx)) {}

  void run() {
    print_start();
    if (!options_.load.empty()) {
      show(load_language_model<Mixer>(options_.load, generate::kind_of(*file_)), -1);
      return;
    }
    for (Method method : methods_called(options_.methods)) {
      if (options_.group != 0) method.group = options_.group;
      compress_and_show(method);
    }
  }

 private:
  /// One window of text: what is read to measure the time.
  std::span<const std::uint8_t> window() const {
    const auto context = static_cast<std::size_t>(reference_.sizes().context);
    return std::span(text_).first(std::min(text_.size(), context));
  }
  Tensor<float, 2> logits_of_window() const {
    return Tensor<float, 2>({static_cast<Index>(window().size()), generate::kVocabulary});
  }
  double tokens_per_second(double seconds) const {
    return static_cast<double>(window().size()) / seconds;
  }

  void read_window(View<float, 2> logits) const {
    auto state = reference_.make_state();
    reference_.prefill(state, window(), logits, ctx_);
  }

  std::string quality(double bits) const {
    return formatted(" %10.5f %+9.5f", bits, bits - expected_.bits);
  }

  void print_start() {
    std::printf(
        "Language model %s (%s): %.3f M weights in linear layers, compressed; the embedding table "
        "and norms stay as they are.\n"
        "Bits per byte of %td predictions in %s, in windows of %td; tokens/s of reading one, %d "
        "thread%s.\n\n",
        file_->name().c_str(), generate::kind_of(*file_).c_str(),
        static_cast<double>(sizes_.now.weights) / 1e6, expected_.targets,
        options_.evaluate.empty() ? "kjv_valid.txt" : options_.evaluate.c_str(),
        reference_.sizes().context, options_.threads, options_.threads == 1 ? "" : "s");
    print_head("tokens/s", formatted(" %10s %9s", "bits/byte", "change").c_str());
    auto logits = logits_of_window();
    const auto times = time_both([&] { read_window(logits); }, [] {});
    Sizes published = sizes_;
    published.now.bytes = 2 * published.now.weights;
    print_row("bf16", published, tokens_per_second(times.first), 1, quality(expected_.bits), -1);
  }

  void compress_and_show(const Method& method) {
    Bytes calibration;
    if (method.calibrates())
      calibration = contents_of(options_.calibrate, WEFT_EXAMPLE_DATA "/kjv_train.txt");
    Progress progress(options_.progress);
    const auto start = std::chrono::steady_clock::now();
    auto compressed = compress_language_model<Mixer>(file_, method, calibration, ctx_, progress);
    const double bits = show(compressed, seconds_since(start));
    if (options_.save.empty()) return;
    compressed.save(options_.save);
    const auto again = load_language_model<Mixer>(options_.save, generate::kind_of(*file_));
    weft::require(again.bits_per_byte(text_, options_.limit, ctx_) == bits, options_.save.string(),
                  ": the model that was read back gives other probabilities");
    std::printf("\nSaved to %s (%.3f MB with embeddings) and read back: equal probabilities.\n",
                options_.save.c_str(),
                static_cast<double>(std::filesystem::file_size(options_.save)) / 1e6);
  }

  /// Returns bits per byte.
  double show(const CompressedLanguageModel<Mixer>& compressed, double seconds) const {
    const double bits = compressed.bits_per_byte(text_, options_.limit, ctx_);
    auto logits = logits_of_window();
    const auto times =
        time_both([&] { read_window(logits); }, [&] { compressed.read(window(), logits, ctx_); });
    print_row(std::string(compressed.method.name), {size_of(compressed.layers), sizes_.fp32_bytes},
              tokens_per_second(times.second), times.first / times.second, quality(bits), seconds);
    return bits;
  }

  const Options& options_;
  const Context& ctx_;
  File file_;
  Bytes text_;
  generate::LanguageModel<Published> reference_;
  Sizes sizes_;
  generate::BitsPerByte expected_;
};

/// The softmax model as it is, with its keys and values in caches of each kind.
void compare_caches(const Options& options, const weft::SafetensorsFile& file, const Context& ctx) {
  const Bytes text = contents_of(options.evaluate, WEFT_EXAMPLE_DATA "/kjv_valid.txt");
  const auto measure = [&](const CacheKind& kind) {
    return kind.measure(file, text, options.limit, ctx);
  };
  const CacheCost floats = measure(cache_kinds().front());
  std::printf(
      "Language model %s: weights as they are, keys and values in a few bits.\n"
      "Bits per byte of %td predictions, read byte by byte in windows of the context.\n\n"
      "%-8s %12s %8s %10s %9s %10s %9s\n",
      file.name().c_str(), floats.targets, "cache", "bytes", "of fp32", "us/byte", "speed-up",
      "bits/byte", "change");
  for (const CacheKind& kind : cache_kinds_called(options.caches)) {
    const CacheCost cost = kind.name == cache_kinds().front().name ? floats : measure(kind);
    std::printf("%-8s %12td %8.3f %10.1f %9.2f %10.5f %+9.5f\n", std::string(kind.name).c_str(),
                cost.bytes, static_cast<double>(cost.bytes) / static_cast<double>(floats.bytes),
                1e6 * cost.seconds, floats.seconds / cost.seconds, cost.bits,
                cost.bits - floats.bits);
    std::fflush(stdout);
  }
}

}  // namespace

void run_language_model(const Options& options, const Context& ctx) {
  const std::filesystem::path path =
      options.model.empty() ? WEFT_EXAMPLE_DATA "/softmax.safetensors" : options.model;
  const auto file = std::make_shared<const weft::SafetensorsFile>(path);
  const std::string& kind = generate::kind_of(*file);
  if (!options.caches.empty()) {
    weft::require(kind == "softmax", path.string(), ": a model of kind \"", kind,
                  "\"; --kv is for softmax, which keeps keys and values");
    return compare_caches(options, *file, ctx);
  }
  if (kind == "softmax") {
    using Mixer = generate::BasicSoftmaxMixer<Linear>;
    return LanguageModelTable<generate::SoftmaxMixer, Mixer>(options, file, ctx).run();
  }
  if (kind == "deltanet") {
    using Mixer = generate::BasicDeltaNetMixer<Linear>;
    return LanguageModelTable<generate::DeltaNetMixer, Mixer>(options, file, ctx).run();
  }
  weft::fail(path.string() + ": a model of kind \"" + kind +
             "\"; this program knows softmax and deltanet");
}

}  // namespace compress_model
