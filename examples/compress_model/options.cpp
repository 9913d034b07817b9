#include "options.hpp"

#include "kv_caches.hpp"

#include <charconv>
#include <system_error>

namespace compress_model {

namespace {

template <class Number>
Complaint read_number(std::string_view option, std::string_view text, Number least, Number most,
                      Number& out) {
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (trouble == std::errc() && end == text.data() + text.size() && out >= least && out <= most)
    return {};
  return Complaint(option) + " is " + Complaint(text) + ", wanted a number from " +
         std::to_string(least) + " to " + std::to_string(most);
}

/// `parse` throws where a name is unknown.
template <class Parse>
Complaint read_names(const char* option, Parse parse, std::string_view names, std::string& out) {
  try {
    parse(names);
    out = names;
    return {};
  } catch (const weft::error& unknown) {
    return std::string(option) + ": " + unknown.what();
  }
}

constexpr std::string_view kTakesValue[] = {"--model",    "--method", "--kv",    "--calibrate",
                                            "--evaluate", "--limit",  "--group", "--save",
                                            "--load",     "--threads"};

/// Takes one option with its value; the answer is empty when all is well.
Complaint take(Options& options, std::string_view option, std::string_view value) {
  if (option == "--model") return options.model = value, Complaint();
  if (option == "--calibrate") return options.calibrate = value, Complaint();
  if (option == "--evaluate") return options.evaluate = value, Complaint();
  if (option == "--save") return options.save = value, Complaint();
  if (option == "--load") return options.load = value, Complaint();
  if (option == "--method") return read_names("--method", methods_called, value, options.methods);
  if (option == "--kv") return read_names("--kv", cache_kinds_called, value, options.caches);
  if (option == "--threads") return read_number(option, value, 1, 1024, options.threads);
  if (option == "--limit")
    return read_number(option, value, Index{0}, Index{1000000000}, options.limit);
  return read_number(option, value, Index{4}, Index{65536}, options.group);
}

/// Options that exclude each other.
Complaint check(const Options& options) {
  if (options.random && !options.model.empty()) return "give either --model or --random";
  if (!options.save.empty() && !options.load.empty()) return "give either --save or --load";
  if (options.group % 4 != 0) return "--group is no multiple of 4";
  if (!options.caches.empty() && (options.random || !options.save.empty() || !options.load.empty()))
    return "--kv is for a language model as it is: without --random, --save and --load";
  if (!options.save.empty() && methods_called(options.methods).size() != 1)
    return "--save needs one --method";
  return {};
}

}  // namespace

std::string usage() {
  std::string text =
      R"(usage: compress_model [--model PATH | --random] [--method NAME,...] [--calibrate FILE]
                      [--evaluate FILE] [--limit N] [--group N] [--save FILE] [--threads N]
       compress_model [--model PATH | --random] --load FILE [...]
       compress_model [--model FILE] --kv NAME,... [--evaluate FILE] [--limit N] [--threads N]

Compresses a model in each of the given ways and compares it with what it was: size, speed and
how much its answers have changed. With --kv, the keys and values that a language model keeps.

  --model PATH      a folder with the sentence encoder (model.json, its shards and vocab.json), or
                    a safetensors file with a language model of examples/generate; default: the
                    language model examples/data/softmax.safetensors
  --random          instead: a sentence encoder with random weights, of the published widths
  --method NAMES    names from the list below with commas between, or all, which is the default
  --kv NAMES        caches from the second list, or all
  --calibrate FILE  sentences, one on each line, or text that some methods look at, which are
                    marked *; default: examples/data/sentences_calibration.txt, kjv_train.txt
  --evaluate FILE   other sentences, or text, for the comparison;
                    default: examples/data/sentences_test.txt, kjv_valid.txt
  --limit N         predict N bytes of the text; default 32768, 0 is the whole file
  --group N         inputs that share a scale in the methods of 3 and 4 bits, a multiple of 4;
                    default 32
  --save FILE       write the compressed model (safetensors), read it back and compare the two
  --load FILE       instead of compressing: take the model from such a file
  --threads N       1 to 1024; default 1
  --progress        show the progress bar even where the error stream is no terminal

Methods:
)";
  const auto line = [&](std::string name, std::string_view summary) {
    name.resize(14, ' ');
    text += "  " + name + std::string(summary) + '\n';
  };
  for (const Method& m : methods())
    line(std::string(m.name) + (m.calibrates() ? "*" : ""), m.summary);
  text += "\nCaches:\n";
  for (const CacheKind& k : cache_kinds()) line(std::string(k.name), k.summary);
  text += R"(
What is compressed: all matrices that rows are multiplied by, but for the logits of a language
model, which are its embedding table. Embeddings and norms stay floats, and are not counted in the
column `weights`; scales, offsets and biases are.
)";
  return text;
}

std::variant<Options, Complaint> parse_options(int argc, const char* const* argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help" || option == "-h") {
      options.help = true;
      return options;
    }
    if (option == "--random") {
      options.random = true;
      continue;
    }
    if (option == "--progress") {
      options.progress = Progress::When::always;
      continue;
    }
    bool known = false;
    for (std::string_view name : kTakesValue) known = known || name == option;
    if (!known) return "unknown argument " + Complaint(option);
    if (i + 1 == argc) return Complaint(option) + " needs a value";
    if (Complaint complaint = take(options, option, argv[++i]); !complaint.empty())
      return complaint;
  }
  if (Complaint complaint = check(options); !complaint.empty()) return complaint;
  return options;
}

}  // namespace compress_model
