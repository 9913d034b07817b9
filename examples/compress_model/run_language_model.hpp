#pragma once

#include "options.hpp"
#include <weft/core/executor.hpp>

namespace compress_model {

/// Compresses a language model and prints the table.
void run_language_model(const Options& options, const weft::Context& ctx);

}  // namespace compress_model
