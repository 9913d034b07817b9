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
    {"softmax", "relu", "weft/attention/softmax/elementwise.hpp",
     "Softmax{mask, score, ReluWeights<>{}}",
     "weights relu(s) / n, n = 1, keys or visible keys",
     kAllVerbs, {"Replacing softmax with ReLU in Vision Transformers", "2309.08586"}},
    {"softmax", "squared_relu", "weft/attention/softmax/elementwise.hpp",
     "Softmax{mask, score, ReluWeights<2>{}}",
     "weights relu(s / n)^2, any power",
     kAllVerbs, {"Transformer Quality in Linear Time", "2202.10447"}},
    {"softmax", "sigmoid", "weft/attention/softmax/elementwise.hpp",
     "Softmax{mask, score, SigmoidWeights{bias}}",
     "weights sigma(s + bias), the bias by hand or by length",
     kAllVerbs, {"Theory, Analysis, and Best Practices for Sigmoid Self-Attention", "2409.04431"}},
    {"softmax", "power", "weft/attention/softmax/power.hpp",
     "Softmax{mask, score, PowerSoftmax<4>{}}",
     "even powers over their sum, or their mean; Goldschmidt division",
     kAllVerbs,
     {"Power-Softmax: Towards Secure LLM Inference over Encrypted Data", "2410.09457"}},
    {"softmax", "stable_power", "weft/attention/softmax/power.hpp",
     "Softmax{mask, score, StablePowerSoftmax<4>{}}",
     "the same of logits over the largest of their row",
     kAllVerbs,
     {"Power-Softmax: Towards Secure LLM Inference over Encrypted Data", "2410.09457"}},
    {"softmax", "clipped", "weft/attention/softmax/clipped.hpp",
     "Softmax{mask, score, ClippedSoftmax{gamma, eta}}",
     "probabilities stretched to (gamma, eta) and clipped to [0, 1]",
     kAllVerbs,
     {"Quantizable Transformers: Removing Outliers by Helping Attention Heads Do Nothing",
      "2306.12929"}},
    {"softmax", "gated", "weft/attention/softmax/gate.hpp",
     "Softmax{mask, score, Gated{normalizer, gates}}",
     "output rows times gates: per head, per token, of all features",
     kAllVerbs,
     {"Quantizable Transformers: Removing Outliers by Helping Attention Heads Do Nothing",
      "2306.12929"}},
    {"softmax", "pattention", "weft/attention/softmax/pattention.hpp",
     "Softmax{NoMask{}, NoScore{}, NormalizedGelu{}, 1.0}",
     "attention to learned tokens, three normalizations",
     kForward,
     {"TokenFormer: Rethinking Transformer Scaling with Tokenized Model Parameters",
      "2410.23168"}},
    {"softmax", "top_k", "weft/attention/softmax/top_k.hpp",
     "Softmax{mask, score, TopK{count}}",
     "softmax over the largest logits of a row; 1: argmax",
     kAllVerbs,
     {"AxFormer: Accuracy-driven Approximation of Transformers", "2010.03688"}},
    {"softmax", "kmeans", "weft/attention/softmax/kmeans.hpp",
     "forward(KMeans{}, centers, pixels, v, update, assigned)",
     "every pixel to its closest center, values summed there",
     kForward, {"k-means Mask Transformer", "2207.04044"}},
    {"softmax", "categorical", "weft/attention/softmax/categorical.hpp",
     "forward(CategoricalAttention{...}, tokens, out, attended)",
     "the nearest token whose variable matches a predicate",
     kForward, {"Learning Transformer Programs", "2306.01128"}},

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
    {"layer", "gelu_table", "weft/layer/gelu_table.hpp",
     "GeluTable{}(x), Activate<GeluTable>{}",
     "GELU by linear interpolation in 177 numbers",
     kForward,
     {"Edge-MoE: Memory-Efficient Multi-Task Vision Transformer Architecture", "2305.18691"}},
};
// clang-format on

}  // namespace weft
