#include "options.hpp"

#include <charconv>
#include <utility>

namespace sentence_encoder {

namespace {

constexpr int kMostThreads = 1024;

/// The whole text as a number in [1, kMostThreads], or 0.
int thread_count(std::string_view text) {
  int count = 0;
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), count);
  const bool whole = trouble == std::errc() && end == text.data() + text.size();
  return whole && count >= 1 && count <= kMostThreads ? count : 0;
}

}  // namespace

std::variant<Options, Complaint> parse_options(int argc, const char* const* argv) {
  Options options;
  bool input_seen = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const bool takes_value = argument == "--model" || argument == "--threads";
    if (takes_value && i + 1 == argc) return Complaint(argument) + " needs a value";
    if (argument == "--model") {
      options.model = argv[++i];
    } else if (argument == "--threads") {
      options.threads = thread_count(argv[++i]);
      if (options.threads == 0) return "--threads is " + Complaint(argv[i]) + ", wanted 1 to 1024";
    } else if (argument == "--json") {
      options.json = true;
    } else if (argument == "--random") {
      options.random = true;
    } else if (argument == "--help" || argument == "-h") {
      options.help = true;
    } else if (argument.starts_with('-') && argument != "-") {
      return "unknown option " + Complaint(argument);
    } else if (std::exchange(input_seen, true)) {
      return "more than one FILE: " + Complaint(argument);
    } else {
      options.input = argument;
    }
  }
  if (!options.help && options.model.empty() != options.random)
    return "give either --model DIR or --random";
  return options;
}

}  // namespace sentence_encoder
