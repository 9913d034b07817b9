#pragma once

#include "method.hpp"
#include "progress.hpp"

#include <filesystem>
#include <string>
#include <variant>

namespace compress_model {

/// The command line.
struct Options {
  std::filesystem::path model;      ///< empty: the language model that comes with the program
  bool random = false;              ///< instead: an encoder of random weights
  std::string methods = "all";      ///< names with commas between
  std::string caches;               ///< instead of methods: names of caches, with commas between
  std::filesystem::path calibrate;  ///< empty: what comes with the program
  std::filesystem::path evaluate;   ///< the same
  Index limit = 32768;              ///< bytes of text to predict; 0: the whole file
  Index group = 0;                  ///< 0: what the methods say
  std::filesystem::path save, load;
  int threads = 1;
  Progress::When progress = Progress::When::terminal;
  bool help = false;
};

std::string usage();

/// What is wrong with a command line.
using Complaint = std::string;

std::variant<Options, Complaint> parse_options(int argc, const char* const* argv);

}  // namespace compress_model
