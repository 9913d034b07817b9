#pragma once

#include "compressed_linear.hpp"
#include "measure.hpp"

#include <cstdio>
#include <string>

/// The tables: columns that all models have, and then those of a kind of model.
namespace compress_model {

/// The weights of a model before and after.
struct Sizes {
  Size now;
  Index fp32_bytes;  ///< of the same weights and biases
};

/// Of a model that is not compressed, its operators with or without biases.
template <class Model>
Sizes sizes_in_fp32(Model& model, bool biases) {
  Sizes out{};
  model.for_each_linear([&](const auto&, const auto& op, const auto&) {
    out.now.weights += op.rows() * op.cols();
    out.fp32_bytes += 4 * op.rows() * (op.cols() + (biases ? 1 : 0));
  });
  out.now.bytes = out.fp32_bytes;
  return out;
}

inline void print_head(const char* speed, const char* others) {
  std::printf("%-12s %11s %8s %11s %12s %9s%s %11s\n", "method", "weights MB", "of fp32",
              "bits/weight", speed, "speed-up", others, "compress s");
}

/// `seconds` is the time of compressing, negative where there was none.
inline void print_row(const std::string& method, const Sizes& sizes, double speed, double speed_up,
                      const std::string& others, double seconds) {
  const auto bytes = static_cast<double>(sizes.now.bytes);
  std::printf("%-12s %11.3f %8.4f %11.2f %12.0f %9.2f%s", method.c_str(), bytes / 1e6,
              bytes / static_cast<double>(sizes.fp32_bytes), sizes.now.bits_per_weight(), speed,
              speed_up, others.c_str());
  if (seconds < 0)
    std::printf(" %11s\n", "-");
  else
    std::printf(" %11.2f\n", seconds);
  std::fflush(stdout);
}

/// printf to a string of at most 100 characters.
template <class... Numbers>
std::string formatted(const char* format, Numbers... numbers) {
  char text[101];
  std::snprintf(text, sizeof text, format, numbers...);
  return text;
}

}  // namespace compress_model
