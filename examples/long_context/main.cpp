/// Streams a long text, byte by byte, through one layer of a mixer chosen by name, and prints what
/// that costs as the text grows: tokens per second, the size of the state, resident memory. Mixers
/// with a fixed state stay where they are; softmax attention does not.
#include "streams.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string_view>

namespace {

using namespace long_context;
namespace fs = std::filesystem;

struct Options {
  std::string mixer = "gated_deltanet";
  fs::path file;  ///< empty: the sources of the project
  Index tokens = 1'000'000;
  bool help = false;
};

std::string usage() {
  std::string text =
      "usage: long_context [--mixer NAME] [--tokens N] [FILE]\n\n"
      "Streams the first N bytes (default 1000000) of FILE through a mixer of 4 heads of 64\n"
      "channels, again from the start where FILE is shorter. Without FILE: the sources of the\n"
      "project.\n\n";
  for (const auto& stream : streams())
    text += "  " + stream.name + std::string(18 - stream.name.size(), ' ') + stream.summary + '\n';
  return text;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help" || argument == "-h") {
      options.help = true;
    } else if (argument == "--mixer" || argument == "--tokens") {
      weft::require(i + 1 < argc, std::string(argument), " needs a value");
      const std::string_view value = argv[++i];
      if (argument == "--mixer") {
        options.mixer = value;
        continue;
      }
      const auto [end, trouble] =
          std::from_chars(value.data(), value.data() + value.size(), options.tokens);
      weft::require(
          trouble == std::errc() && end == value.data() + value.size() && options.tokens >= 1,
          "--tokens is ", std::string(value), ", wanted a positive number");
    } else {
      weft::require(!argument.starts_with("-") && options.file.empty(), "unknown argument ",
                    std::string(argument));
      options.file = argument;
    }
  }
  return options;
}

void append(const fs::path& path, std::vector<std::uint8_t>& text) {
  std::ifstream in(path, std::ios::binary);
  weft::require(in.good() && !fs::is_directory(path), "cannot open ", path.string());
  text.insert(text.end(), std::istreambuf_iterator<char>(in), {});
}

/// The file, or all sources of the project in the order of their names.
std::vector<std::uint8_t> text_of(const Options& options) {
  std::vector<std::uint8_t> text;
  if (!options.file.empty()) {
    append(options.file, text);
  } else {
    std::vector<fs::path> paths;
    for (const char* folder : {"include", "examples", "tests", "bench"})
      for (const auto& entry : fs::recursive_directory_iterator(fs::path(WEFT_SOURCE_DIR) / folder))
        if (entry.path().extension() == ".hpp" || entry.path().extension() == ".cpp")
          paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const fs::path& path : paths) append(path, text);
  }
  weft::require(!text.empty(), "the text is empty");
  return text;
}

/// Resident memory of this process, 0 where the system does not say.
double resident_megabytes() {
  std::ifstream statm("/proc/self/statm");
  double pages = 0, resident = 0;
  if (!(statm >> pages >> resident)) return 0;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

/// A line per tenth of the text, and between them a bar on a terminal.
class Progress {
 public:
  explicit Progress(Index tokens) : tokens_(tokens), bar_(isatty(STDERR_FILENO) == 1) {
    std::printf("%12s %14s %14s %14s\n", "tokens", "tokens/s", "state bytes", "resident MB");
  }

  void at(Index done, Index state_bytes) {
    if (done * 10 / tokens_ == printed_ && done < tokens_) return draw(done);
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - since_).count();
    if (bar_) std::fprintf(stderr, "\r%60s\r", "");
    std::printf("%12td %14.0f %14td %14.1f\n", done, static_cast<double>(done - counted_) / seconds,
                state_bytes, resident_megabytes());
    std::fflush(stdout);
    printed_ = done * 10 / tokens_;
    counted_ = done;
    since_ = std::chrono::steady_clock::now();
  }

 private:
  void draw(Index done) const {
    constexpr Index kWidth = 40;
    if (!bar_) return;
    const auto filled = static_cast<std::size_t>(done * kWidth / tokens_);
    std::fprintf(stderr, "\r[%s%s] %td %%", std::string(filled, '#').c_str(),
                 std::string(kWidth - filled, ' ').c_str(), done * 100 / tokens_);
  }

  Index tokens_, printed_ = 0, counted_ = 0;
  bool bar_;
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

std::unique_ptr<Stream> stream_called(const std::string& name) {
  for (const auto& stream : streams())
    if (stream.name == name) return stream.make();
  weft::fail("no mixer is called " + name + "; see --help");
}

void run(const Options& options) {
  constexpr Index kPiece = 1024;
  const auto stream = stream_called(options.mixer);
  const std::vector<std::uint8_t> text = text_of(options);
  Tokens tokens(kPiece);
  Tensor<float, 4> out({1, kHeads, kPiece, kDim});
  const Context ctx;
  Progress progress(options.tokens);
  for (Index done = 0; done < options.tokens;) {
    // The text begins again where it ends.
    const auto from = static_cast<std::size_t>(done) % text.size();
    const auto rest =
        std::min<Index>(options.tokens - done, static_cast<Index>(text.size() - from));
    const Index n = std::min(kPiece, rest);
    tokens.read(std::span(text).subspan(from, static_cast<std::size_t>(n)));
    stream->feed(tokens, n, out.view().slice(2, 0, n), ctx);
    done += n;
    progress.at(done, stream->state_bytes());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse(argc, argv);
    if (options.help)
      std::cout << usage();
    else
      run(options);
    return 0;
  } catch (const std::exception& trouble) {
    std::cerr << "long_context: " << trouble.what() << '\n';
    return 2;
  }
}
