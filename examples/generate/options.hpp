#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>

namespace generate {

/// The command line.
struct Options {
  std::filesystem::path model;          ///< empty: the one that comes with the program
  std::string prompt;                   ///< what the text starts with
  std::filesystem::path bits_per_byte;  ///< measure the model on this file instead; empty: generate
  int tokens = 200;                     ///< bytes to generate
  int limit = 8192;                     ///< bytes to predict when measuring; 0: the whole file
  double temperature = 0.7;             ///< 0: always the likeliest byte
  int top_k = 0;                        ///< choose among so many bytes; 0: all
  std::uint64_t seed = 1;
  int threads = 1;
  bool help = false;
};

inline constexpr std::string_view kUsage =
    R"(usage: generate [--model FILE] --prompt TEXT [--tokens N] [--temperature T] [--top-k K]
                [--seed S] [--threads N]
       generate [--model FILE] --bits-per-byte FILE [--limit N] [--threads N]

Continues TEXT with a byte-level language model, or measures the model on a text.

  --model FILE          safetensors file with weights; default: the softmax model of the examples
  --prompt TEXT         beginning of the text
  --tokens N            bytes to generate, 1 to 100000; default 200
  --temperature T       0 takes the likeliest byte each time, 1 samples as trained; default 0.7
  --top-k K             sample among the K likeliest bytes only; default 0: all
  --seed S              of the random numbers; default 1
  --bits-per-byte FILE  read FILE in windows of the model's context, each from an empty state, and
                        print the mean of -log2 of the probabilities given to its bytes
  --limit N             stop after predicting N bytes; default 8192, 0 is the whole file
  --threads N           1 to 1024; default 1
)";

/// What is wrong with a command line.
using Complaint = std::string;

std::variant<Options, Complaint> parse_options(int argc, const char* const* argv);

}  // namespace generate
