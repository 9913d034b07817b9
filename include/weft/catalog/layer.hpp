#pragma once

#include <weft/catalog/entry.hpp>

/// Catalog: layers around the mixers.
namespace weft {

// clang-format off
inline constexpr CatalogEntry kLayerCatalog[] = {
    {"layer", "layer_norm", "weft/layer/norm.hpp",
     "normalize(LayerNorm{weight, bias}, x, y)",
     "mean 0 and variance 1 per row, then an affine map",
     kForward, {"Layer Normalization", "1607.06450"}},
    {"layer", "rms_norm", "weft/layer/norm.hpp",
     "normalize(RmsNorm{weight}, x, y)",
     "root mean square 1 per row, then a weight",
     kForward, {"Root Mean Square Layer Normalization", "1910.07467"}},
    {"layer", "layer_norm_scaling", "weft/layer/norm.hpp",
     "LayerNorm{weight, bias, eps, 1 / sqrt(l)}",
     "LayerNorm of layer l divided by sqrt(l)",
     kForward, {"The Curse of Depth in Large Language Models", "2502.05795"}},
    {"layer", "adaptive_norm", "weft/layer/norm.hpp",
     "modulate(LayerNorm{}, x, scale, shift, y)",
     "norm(x) (1 + scale) + shift, one pair per batch element (AdaLN)",
     kForward, {"Scalable Diffusion Models with Transformers", "2212.09748"}},
    {"layer", "prep_bn", "weft/layer/rep_batch_norm.hpp",
     "apply_affine(ChannelAffine<float>(norm), x, y), fold_into_next(...)",
     "batch norm plus a skip, folded into the layers around it",
     kForward,
     {"SLAB: Efficient Transformers with Simplified Linear Attention and Progressive "
      "Re-parameterized Batch Normalization", "2405.11582"}},
    {"layer", "swiglu", "weft/layer/ffn.hpp",
     "SwiGlu{gate_and_up, down}.apply(x, y)",
     "feed-forward layer silu(gate x) * (up x), then down",
     kForward, {"GLU Variants Improve Transformer", "2002.05202"}},
    {"layer", "gelu_table", "weft/layer/gelu_table.hpp",
     "GeluTable{}(x), Activate<GeluTable>{}",
     "GELU by linear interpolation in 177 numbers",
     kForward,
     {"Edge-MoE: Memory-Efficient Multi-Task Vision Transformer Architecture", "2305.18691"}},
    {"layer", "causal_conv1d", "weft/layer/causal_conv1d.hpp",
     "conv.apply(state, x, y, Silu{})",
     "depthwise convolution of a token and the few before it, with a state",
     kAllVerbs, {"Mamba: Linear-Time Sequence Modeling with Selective State Spaces", "2312.00752"}},
};
// clang-format on

}  // namespace weft
