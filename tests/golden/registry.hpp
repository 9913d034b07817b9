#pragma once

#include "golden/report.hpp"
#include <weft/io/safetensors.hpp>

#include <span>
#include <string_view>

/// The mechanisms that golden files are run through.
namespace golden {

/// Runs all cases of a file of one mechanism.
struct Mechanism {
  std::string_view key;  ///< parent folder and stem of the file, "softmax/sdpa"
  void (*run)(const weft::SafetensorsFile&, Report&);
};

/// One list per source file; a family joins by adding its own to `find`.
std::span<const Mechanism> softmax_mechanisms();
std::span<const Mechanism> partial_mechanisms();
std::span<const Mechanism> position_mechanisms();
std::span<const Mechanism> norm_mechanisms();
std::span<const Mechanism> normalizer_mechanisms();
std::span<const Mechanism> gate_mechanisms();
std::span<const Mechanism> rotation_mechanisms();
std::span<const Mechanism> grid_mechanisms();
std::span<const Mechanism> arrangement_mechanisms();
std::span<const Mechanism> recurrent_mechanisms();
std::span<const Mechanism> delta_layer_mechanisms();
std::span<const Mechanism> atlas_mechanisms();
std::span<const Mechanism> mom_mechanisms();
std::span<const Mechanism> kernelized_mechanisms();
std::span<const Mechanism> low_rank_mechanisms();
std::span<const Mechanism> informer_mechanisms();
std::span<const Mechanism> combiner_mechanisms();
std::span<const Mechanism> construction_mechanisms();
std::span<const Mechanism> linear_map_mechanisms();
std::span<const Mechanism> linear_image_mechanisms();
std::span<const Mechanism> linear_norm_mechanisms();
std::span<const Mechanism> linear_flow_mechanisms();
std::span<const Mechanism> linear_performer_mechanisms();
std::span<const Mechanism> linear_hash_mechanisms();
std::span<const Mechanism> linear_gate_mechanisms();
std::span<const Mechanism> gptq_mechanisms();
std::span<const Mechanism> quant_method_mechanisms();
std::span<const Mechanism> quant_int8_mechanisms();
std::span<const Mechanism> quant_format_mechanisms();
std::span<const Mechanism> quant_grid_mechanisms();
std::span<const Mechanism> quant_integer_mechanisms();
std::span<const Mechanism> quant_repq_mechanisms();
std::span<const Mechanism> quant_w8a8_mechanisms();
std::span<const Mechanism> quant_codebook_mechanisms();
std::span<const Mechanism> quant_llm_fp4_mechanisms();
std::span<const Mechanism> quant_kv_mechanisms();
std::span<const Mechanism> quant_sage_mechanisms();

/// The mechanism of a key, null when it is unknown.
inline const Mechanism* find(std::string_view key) {
  for (const auto list : {softmax_mechanisms(),
                          partial_mechanisms(),
                          position_mechanisms(),
                          norm_mechanisms(),
                          normalizer_mechanisms(),
                          gate_mechanisms(),
                          rotation_mechanisms(),
                          grid_mechanisms(),
                          arrangement_mechanisms(),
                          recurrent_mechanisms(),
                          delta_layer_mechanisms(),
                          atlas_mechanisms(),
                          mom_mechanisms(),
                          kernelized_mechanisms(),
                          low_rank_mechanisms(),
                          informer_mechanisms(),
                          combiner_mechanisms(),
                          construction_mechanisms(),
                          linear_map_mechanisms(),
                          linear_image_mechanisms(),
                          linear_norm_mechanisms(),
                          linear_flow_mechanisms(),
                          linear_performer_mechanisms(),
                          linear_hash_mechanisms(),
                          linear_gate_mechanisms(),
                          gptq_mechanisms(),
                          quant_method_mechanisms(),
                          quant_int8_mechanisms(),
                          quant_format_mechanisms(),
                          quant_grid_mechanisms(),
                          quant_integer_mechanisms(),
                          quant_repq_mechanisms(),
                          quant_w8a8_mechanisms(),
                          quant_codebook_mechanisms(),
                          quant_llm_fp4_mechanisms(),
                          quant_kv_mechanisms(),
                          quant_sage_mechanisms()}) {
    for (const Mechanism& mechanism : list) {
      if (mechanism.key == key) return &mechanism;
    }
  }
  return nullptr;
}

}  // namespace golden
