#pragma once

#include <string_view>

/// Every variant that weft computes: what the README's table, the case tables and the completeness
/// test are made from. A line here promises a header with the equations, a double-precision
/// reference in tests/reference, a test, a benchmark row `family/name/...` and a line of the
/// README.
namespace weft {

/// Where a mechanism comes from; `arxiv` is empty for what is not on arXiv.
struct Paper {
  std::string_view title;
  std::string_view arxiv;
};

/// The verbs that a variant has.
struct Modes {
  bool forward = false;  ///< the whole sequence at once
  bool prefill = false;  ///< a chunk that reads and advances a state
  bool step = false;     ///< one token
};
inline constexpr Modes kForward{.forward = true};
inline constexpr Modes kAllVerbs{.forward = true, .prefill = true, .step = true};

struct CatalogEntry {
  std::string_view family;   ///< folder of its engine: softmax, layer, ...
  std::string_view name;     ///< unique within the family
  std::string_view header;   ///< what to include
  std::string_view use;      ///< how it is written in code
  std::string_view summary;  ///< what it computes, half a line
  Modes modes;
  Paper paper;
};

// clang-format off
inline constexpr CatalogEntry kCatalog[] = {
    {"softmax", "full", "weft/attention/softmax.hpp",
     "Softmax{}",
     "scaled dot-product attention, any M and N, any head sizes",
     kForward, {"Attention Is All You Need", "1706.03762"}},
    {"softmax", "causal", "weft/attention/softmax.hpp",
     "Softmax{Causal{Align::bottom_right}}",
     "no query sees later keys; the last query stands at the last key",
     kAllVerbs, {"Attention Is All You Need", "1706.03762"}},
    {"softmax", "causal_top_left", "weft/attention/softmax.hpp",
     "Softmax{Causal{Align::top_left}}",
     "the same with the first query at the first key",
     kForward, {"Attention Is All You Need", "1706.03762"}},
    {"softmax", "grouped_query", "weft/attention/softmax.hpp",
     "any mixer, Hq a multiple of Hk",
     "groups of query heads share a key/value head; one for all is multi-query",
     kAllVerbs, {"GQA: Training Generalized Multi-Query Transformer Models", "2305.13245"}},
    {"softmax", "window", "weft/attention/softmax.hpp",
     "Softmax{Window{left, right}}",
     "keys at most so far before and after the query",
     kAllVerbs, {"Longformer: The Long-Document Transformer", "2004.05150"}},
    {"softmax", "sink_tokens", "weft/attention/softmax.hpp",
     "Softmax{And{causal, Or{Window{left, 0}, FirstKeys{n}}}}",
     "a window, and the first n keys for ever",
     kAllVerbs, {"Efficient Streaming Language Models with Attention Sinks", "2309.17453"}},
    {"softmax", "bool_mask", "weft/attention/softmax.hpp",
     "Softmax{BoolMask{bytes}}",
     "explicit visibility [B, H, N, M], axes of 1 broadcast",
     kForward, {"Attention Is All You Need", "1706.03762"}},
    {"softmax", "bias", "weft/attention/softmax.hpp",
     "Softmax{mask, AdditiveBias{bias}}",
     "a number added to each logit, [B, H, N, M], axes of 1 broadcast; -inf hides",
     kForward,
     {"Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", "2103.14030"}},
    {"softmax", "softcap", "weft/attention/softmax.hpp",
     "Softmax{mask, SoftCap{cap}}",
     "logits bent to cap tanh(s / cap)",
     kAllVerbs, {"Gemma 2: Improving Open Language Models at a Practical Size", "2408.00118"}},
    {"softmax", "sinks", "weft/attention/softmax.hpp",
     "Softmax{mask, score, SinkSoftmax{logits}}",
     "a learned logit per head joins the denominator",
     kAllVerbs, {"gpt-oss-120b & gpt-oss-20b Model Card", "2508.10925"}},
    {"softmax", "off_by_one", "weft/attention/softmax.hpp",
     "Softmax{mask, score, OffByOneSoftmax{}}",
     "weights exp(s) / (1 + sum exp(s))",
     kAllVerbs, {"Attention Is Off By One (E. Miller, 2023)", ""}},
    {"softmax", "alibi", "weft/attention/softmax.hpp",
     "Softmax{mask, Alibi{slopes}}",
     "logits fall linearly with distance, any number of heads",
     kAllVerbs, {"Train Short, Test Long: Attention with Linear Biases", "2108.12409"}},
    {"softmax", "t5_bias", "weft/attention/softmax.hpp",
     "Softmax{mask, RelativeBias{table, zero}}",
     "a learned number per distance bucket and head",
     kForward, {"Exploring the Limits of Transfer Learning (T5)", "1910.10683"}},
    {"softmax", "rope", "weft/position/rope.hpp",
     "apply_rope(table, q, q, first)",
     "q and k turn with position: two layouts, partial, linear, NTK, YaRN, Llama 3",
     kAllVerbs, {"RoFormer: Enhanced Transformer with Rotary Position Embedding", "2104.09864"}},
    {"softmax", "qk_norm", "weft/layer/norm.hpp",
     "normalize(RmsNorm{weight}, q, q)",
     "q and k normalised per head: LayerNorm, RMSNorm or length",
     kAllVerbs, {"Scaling Vision Transformers to 22 Billion Parameters", "2302.05442"}},
    {"softmax", "ragged", "weft/attention/softmax.hpp",
     "forward_ragged(mixer, q, k, v, cu_q, cu_k, out)",
     "sequences of any lengths end to end, no padding",
     kForward,
     {"ByteTransformer: A High-Performance Transformer Boosted for Variable-Length Inputs",
      "2210.03052"}},
    {"softmax", "paged", "weft/attention/softmax.hpp",
     "forward(mixer, q, PagedKv{...}, out)",
     "keys and values in blocks of a pool, by table",
     {.forward = true, .prefill = true},
     {"Efficient Memory Management for Large Language Model Serving with PagedAttention",
      "2309.06180"}},
    {"softmax", "merge", "weft/attention/softmax.hpp",
     "merge_partials(parts, sums, out, lse)",
     "results over disjoint sets of keys become the result over all",
     kForward,
     {"Ring Attention with Blockwise Transformers for Near-Infinite Context", "2310.01889"}},
    {"softmax", "cmha", "weft/position/complex_phase.hpp",
     "apply_complex_phase(table, delta, b, q, q, first)",
     "complex queries and keys: learned phase differences, and position as phase",
     kAllVerbs, {"ComplexFormer (2025), complex multi-head attention", ""}},
    {"softmax", "positional_attention", "weft/attention/softmax/positional.hpp",
     "forward_positional(mixer, q, k, v, out)",
     "weights from positions alone, computed once for the whole batch",
     kForward,
     {"Positional Attention: Expressivity and Learnability of Algorithmic Computation",
      "2410.01686"}},
    {"softmax", "gaussian_mixture_mask", "weft/attention/softmax/gaussian_mixture.hpp",
     "Softmax{mask, GridFactor{gaussian_mixture_table(...)}}",
     "logits times a mixture of Gaussians of the distance on a grid",
     kForward, {"RetNet Viewed through Convolution", "2309.05375"}},
    {"softmax", "elementwise_mask", "weft/attention/softmax/logit_factor.hpp",
     "Softmax{mask, LogitFactor{factors}}",
     "logits times learned numbers, [B, H, N, M], axes of 1 broadcast",
     kForward, {"RetNet Viewed through Convolution", "2309.05375"}},
    {"softmax", "rmt_masa", "weft/attention/softmax/manhattan.hpp",
     "Softmax{mask, GridBias{manhattan_table(...)}}, forward_decomposed(...)",
     "logits fall with the Manhattan distance on a grid; whole, or rows and then columns",
     kForward, {"RMT: Retentive Networks Meet Vision Transformers", "2309.11523"}},
    {"softmax", "transformer_xl", "weft/attention/softmax/transformer_xl.hpp",
     "forward(TransformerXl{r, u, v}, q, k, v, out)",
     "causal, with a second product of queries and projected distances",
     kForward, {"Transformer-XL: Attentive Language Models beyond a Fixed-Length Context",
                "1901.02860"}},
    {"softmax", "rope2d_croco", "weft/position/rope2d.hpp",
     "apply_rope2d(croco_rope(D, extent), q, q, y, x)",
     "RoPE of two axes: y first, split halves, base 100",
     kForward, {"CroCo v2: Improved Cross-view Completion Pre-training", "2211.10408"}},
    {"softmax", "rope2d_fit", "weft/position/rope2d.hpp",
     "apply_rope2d(fit_rope(along_y, along_x, extent), q, q, y, x)",
     "RoPE of two axes: y first, interleaved, each axis stretched by itself",
     kForward, {"FiTv2: Scalable and Improved Flexible Vision Transformer", "2410.13925"}},
    {"softmax", "rope2d_sam2", "weft/position/rope2d.hpp",
     "apply_rope2d(sam2_rope(D, extent), q, q, y, x)",
     "RoPE of two axes: x first, interleaved, grids that repeat",
     kForward, {"SAM 2: Segment Anything in Images and Videos", "2408.00714"}},
    {"softmax", "time_rope", "weft/position/rope_time.hpp",
     "TimeRope{frequencies, layout, times, reference}.apply(q, q)",
     "RoPE by the time of each token (our definition)",
     kForward, {"SynerGen: Contextualized Generative Recommender", "2509.21777"}},
    {"softmax", "rope_alibi", "weft/attention/softmax/rope_alibi.hpp",
     "Softmax{mask, RopeAlibi{w_rope, w_distance, RelativeBias{harmonic_bias(...), zero}}}",
     "weighted sum of RoPE logits and a table of distances, such as harmonic (our definition)",
     kAllVerbs,
     {"The Nature of Mathematical Modeling and Probabilistic Optimization Engineering in "
      "Generative AI", "2410.18441"}},
    {"softmax", "lepe", "weft/attention/softmax/lepe.hpp",
     "forward_lepe(mixer, conv, heads, q, k, v, out)",
     "attention plus a depthwise convolution of the values (LePE)",
     kForward, {"CSWin Transformer: A General Vision Transformer Backbone", "2107.00652"}},
    {"softmax", "cpe", "weft/position/conditional.hpp",
     "add_conditional_position(conv, x, y)",
     "tokens plus a depthwise convolution of them (conditional position encoding)",
     kForward, {"Conditional Positional Encodings for Vision Transformers", "2102.10882"}},

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
    {"layer", "swiglu", "weft/layer/ffn.hpp",
     "SwiGlu{gate_and_up, down}.apply(x, y)",
     "feed-forward layer silu(gate x) * (up x), then down",
     kForward, {"GLU Variants Improve Transformer", "2002.05202"}},
};
// clang-format on

}  // namespace weft
