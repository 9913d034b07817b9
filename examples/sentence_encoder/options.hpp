#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

namespace sentence_encoder {

/// The command line.
struct Options {
  std::filesystem::path model;        ///< empty with `random`
  std::filesystem::path input = "-";  ///< "-" is the standard input
  int threads = 1;
  bool json = false;
  bool random = false;
  bool help = false;
};

inline constexpr std::string_view kUsage =
    R"(usage: sentence_encoder --model DIR [--json] [--threads N] [FILE]
       sentence_encoder --random    [--json] [--threads N] [FILE]

Embeds the sentences of FILE, or of the standard input: one on each line.

  --model DIR   folder with model.json, its shards and vocab.json
  --random      instead of a model: a small one with random weights, whose embeddings mean nothing
  --json        print one object per line: text, token_ids, embedding
  --threads N   1 to 1024 threads; default 1
)";

/// What is wrong with a command line.
using Complaint = std::string;

std::variant<Options, Complaint> parse_options(int argc, const char* const* argv);

}  // namespace sentence_encoder
