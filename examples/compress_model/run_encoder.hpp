#pragma once

#include "options.hpp"
#include <weft/core/executor.hpp>

namespace compress_model {

/// Compresses the sentence encoder and prints the table.
void run_encoder(const Options& options, const weft::Context& ctx);

}  // namespace compress_model
