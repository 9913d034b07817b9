#include "options.hpp"

#include <charconv>
#include <limits>
#include <system_error>

namespace generate {

namespace {

template <class Number>
Complaint read_number(std::string_view option, std::string_view text, Number least, Number most,
                      Number& out) {
  Number value{};
  const auto [end, trouble] = std::from_chars(text.data(), text.data() + text.size(), value);
  // The comparison is written so that a NaN is refused.
  if (trouble == std::errc() && end == text.data() + text.size() && value >= least &&
      value <= most) {
    out = value;
    return {};
  }
  return Complaint(option) + " is " + Complaint(text) + ", wanted a number from " +
         std::to_string(least) + " to " + std::to_string(most);
}

/// Takes one option with its value; the answer is empty when all is well.
Complaint take(Options& options, std::string_view option, std::string_view value) {
  if (option == "--model") return options.model = value, Complaint();
  if (option == "--prompt") return options.prompt = value, Complaint();
  if (option == "--bits-per-byte") return options.bits_per_byte = value, Complaint();
  if (option == "--tokens") return read_number(option, value, 1, 100000, options.tokens);
  if (option == "--limit") return read_number(option, value, 0, 1000000000, options.limit);
  if (option == "--top-k") return read_number(option, value, 0, 256, options.top_k);
  if (option == "--threads") return read_number(option, value, 1, 1024, options.threads);
  if (option == "--temperature") {
    return read_number(option, value, 0.0, 1000.0, options.temperature);
  }
  constexpr auto most = std::numeric_limits<std::uint64_t>::max();
  return read_number(option, value, std::uint64_t{0}, most, options.seed);
}

constexpr std::string_view kTakesValue[] = {"--model",  "--prompt",      "--bits-per-byte",
                                            "--tokens", "--limit",       "--top-k",
                                            "--seed",   "--temperature", "--threads"};

}  // namespace

std::variant<Options, Complaint> parse_options(int argc, const char* const* argv) {
  Options options;
  bool prompt_seen = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help" || option == "-h") {
      options.help = true;
      return options;
    }
    bool known = false;
    for (std::string_view name : kTakesValue) known = known || name == option;
    if (!known) return "unknown argument " + Complaint(option);
    if (i + 1 == argc) return Complaint(option) + " needs a value";
    if (Complaint complaint = take(options, option, argv[++i]); !complaint.empty()) {
      return complaint;
    }
    prompt_seen = prompt_seen || option == "--prompt";
  }
  if (prompt_seen != options.bits_per_byte.empty()) {
    return Complaint("give either --prompt TEXT or --bits-per-byte FILE");
  }
  return options;
}

}  // namespace generate
