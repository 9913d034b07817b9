/// Writes text with a byte-level language model, or measures the model on a text. See options.hpp
/// for the command line, language_model.hpp for the model, softmax_mixer.hpp and deltanet_mixer.hpp
/// for what mixes its sequence.
#include "deltanet_mixer.hpp"
#include "evaluation.hpp"
#include "options.hpp"
#include "sampler.hpp"
#include "softmax_mixer.hpp"
#include <weft/core/thread_pool.hpp>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

namespace {

using namespace generate;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string contents_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  weft::require(in.good() && !std::filesystem::is_directory(path), "cannot open ", path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class M>
void continue_text(const weft::SafetensorsFile& file, const Options& options, const Context& ctx) {
  weft::require(!options.prompt.empty(), "the prompt is empty; give at least one byte");
  const auto prompt = bytes_of(options.prompt);
  const auto positions = static_cast<Index>(prompt.size()) + options.tokens;
  const LanguageModel<M> model(file, positions);
  if (positions > model.sizes().context) {
    std::cerr << "generate: note: the model was trained on texts of " << model.sizes().context
              << " bytes, this one gets " << positions << '\n';
  }
  auto state = model.make_state();
  Sampler sampler(options.temperature, options.top_k, options.seed);
  Tensor<float, 2> logits({1, kVocabulary});
  const auto write = [](const void* data, std::size_t size) {
    weft::require(std::fwrite(data, 1, size, stdout) == size && std::fflush(stdout) == 0,
                  "cannot write to the standard output");
  };

  write(prompt.data(), prompt.size());
  const auto start = std::chrono::steady_clock::now();
  model.prefill(state, prompt, logits, ctx);
  const double reading = seconds_since(start);
  const auto reading_done = std::chrono::steady_clock::now();
  for (int t = 0; t < options.tokens; ++t) {
    const std::uint8_t byte = sampler(logits.view().select(0, 0));
    write(&byte, 1);
    model.step(state, byte, logits, ctx);
  }
  const double writing = seconds_since(reading_done);
  write("\n", 1);
  std::fprintf(stderr,
               "prompt %zu bytes: %.0f tokens/s   generated %d bytes: %.0f tokens/s   "
               "state %td bytes\n",
               prompt.size(), static_cast<double>(prompt.size()) / reading, options.tokens,
               options.tokens / writing, model.bytes(state));
}

template <class M>
void measure(const weft::SafetensorsFile& file, const Options& options, const Context& ctx) {
  const std::string text = contents_of(options.bits_per_byte);
  const LanguageModel<M> model(file, sizes_of(file).context);
  const BitsPerByte result = bits_per_byte(model, bytes_of(text), options.limit, ctx);
  std::printf("%.6f bits per byte over %td bytes of %s\n", result.bits, result.targets,
              options.bits_per_byte.c_str());
}

template <class M>
void run_model(const weft::SafetensorsFile& file, const Options& options, const Context& ctx) {
  if (options.bits_per_byte.empty()) {
    continue_text<M>(file, options, ctx);
  } else {
    measure<M>(file, options, ctx);
  }
}

void run(const Options& options) {
  const std::filesystem::path path =
      options.model.empty() ? WEFT_EXAMPLE_DATA "/softmax.safetensors" : options.model;
  const weft::SafetensorsFile file(path);
  weft::ThreadPool pool(options.threads);
  const Context ctx = options.threads == 1 ? Context() : Context(pool);
  const std::string& kind = kind_of(file);
  if (kind == "softmax") return run_model<SoftmaxMixer>(file, options, ctx);
  if (kind == "deltanet") return run_model<DeltaNetMixer>(file, options, ctx);
  weft::fail(path.string() + ": a model of kind \"" + kind +
             "\"; this program knows softmax and deltanet");
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = parse_options(argc, argv);
  if (const auto* complaint = std::get_if<Complaint>(&parsed)) {
    std::cerr << "generate: " << *complaint << "\n\n" << kUsage;
    return 2;
  }
  const auto& options = std::get<Options>(parsed);
  if (options.help) {
    std::cout << kUsage;
    return 0;
  }
  try {
    run(options);
    return 0;
  } catch (const std::exception& trouble) {
    std::cerr << "generate: " << trouble.what() << '\n';
    return 1;
  }
}
