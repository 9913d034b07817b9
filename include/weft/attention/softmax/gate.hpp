#pragma once

#include <weft/attention/softmax/gated_output.hpp>
#include <weft/core/activation.hpp>
#include <weft/core/gemm.hpp>

#include <cmath>

/// The gates of gated attention (Quantizable Transformers, arXiv:2306.12929), computed from the
/// input x [B, N, C] of the layer, C = H d, seen as H heads x_h of d channels:
///
///   HeadGate      a[b, h, i] = w_h . x_h[b, i] + b_h                          a predictor per head
///   MlpGate       a[b, h, i] = u_h . relu(W_h x_h[b, i] + c_h) + b_h          W_h [m, d]
///   FeatureGate   a[b, h, i] = w_h . x[b, i] + b_h                            over all C channels
///
///   gate_logits(HeadGate{weight, bias}, x, a);
///   open_gates(a, gates);                   conditional per token: g = factor sigma(a)
///   open_head_gates(a, gates);              conditional per head: g[b, h] = factor sigma(mean_i a)
///   open_gates(alpha, gates);               unconditional: alpha, gates [1, H, 1]
///   forward(Softmax{mask, score, GatedOutput{PlainSoftmax{}, gates}}, q, k, v, out);
///
/// `factor` is 1, or 1 / g_0 when a model that was trained without gates is tuned with gates that
/// start at g_0; their biases start at ln(g_0 / (1 - g_0)). A gate per head looks at all tokens, at
/// padding too, and suits no causal model; the others do not mind where a sequence is cut. Element
/// type float or double throughout. O(B N C) (MlpGate: times m). Throws weft::error when shapes do
/// not fit.
namespace weft {

template <class T>
struct HeadGate {
  View<const T, 2> weight;  ///< [H, d]
  View<const T, 1> bias;    ///< [H]
};

template <class T>
struct MlpGate {
  View<const T, 3> hidden_weight;  ///< [H, m, d]
  View<const T, 2> hidden_bias;    ///< [H, m]
  View<const T, 2> weight;         ///< [H, m]
  View<const T, 1> bias;           ///< [H]
};

template <class T>
struct FeatureGate {
  View<const T, 2> weight;  ///< [H, C]
  View<const T, 1> bias;    ///< [H]
};

namespace detail {

/// C(m, n) = acc + values(m): products here have tokens as columns.
template <class T>
struct RowBias {
  View<const T, 1> values;

  template <class V>
  V operator()(V acc, Index row, Index, Index) const noexcept {
    return acc + V(values(row));
  }
  void check(Index rows, Index) const {
    require(values.extent(0) == rows, "gate_logits: ", values.extent(0), " biases for ", rows,
            " rows of the weight");
  }
};

/// The channels of head h of batch element b as [d, N].
template <class T>
View<const T, 2> head_columns(const View<const T, 3>& x, Index b, Index h, Index d) {
  return x.select(0, b).slice(1, h * d, d).transpose(0, 1);
}

template <class T>
void require_gate(const View<const T, 3>& x, Index heads, Index channels,
                  const View<T, 3>& logits) {
  require(x.extent(2) == channels, "gate_logits: x has ", x.extent(2),
          " channels, the weights are for ", channels);
  require(logits.extent(0) == x.extent(0) && logits.extent(1) == heads &&
              logits.extent(2) == x.extent(1),
          "gate_logits: logits ", logits, " must be [B, H, N] for x ", x, " and ", heads, " heads");
}

}  // namespace detail

template <class A = DefaultArch, class T>
void gate_logits(const HeadGate<T>& gate, std::type_identity_t<View<const T, 3>> x,
                 std::type_identity_t<View<T, 3>> logits, const Context& ctx = Context()) {
  const Index heads = gate.weight.extent(0), d = gate.weight.extent(1);
  detail::require_gate<T>(x, heads, heads * d, logits);
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index h = 0; h < heads; ++h)
      gemm<A>(gate.weight.slice(0, h, 1), detail::head_columns(x, b, h, d),
              logits.select(0, b).slice(0, h, 1), detail::RowBias<T>{gate.bias.slice(0, h, 1)},
              ctx);
}

template <class A = DefaultArch, class T>
void gate_logits(const MlpGate<T>& gate, std::type_identity_t<View<const T, 3>> x,
                 std::type_identity_t<View<T, 3>> logits, const Context& ctx = Context()) {
  const auto& hidden = gate.hidden_weight;
  const Index heads = hidden.extent(0), m = hidden.extent(1), d = hidden.extent(2);
  const Index tokens = x.extent(1);
  detail::require_gate<T>(x, heads, heads * d, logits);
  Arena::Frame frame(ctx.arena());
  const View<T, 2> inner(ctx.arena().take<T>(m * tokens), {m, tokens});
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index h = 0; h < heads; ++h) {
      gemm<A>(hidden.select(0, h), detail::head_columns(x, b, h, d), inner,
              Then{detail::RowBias<T>{gate.hidden_bias.select(0, h)}, Activate<Relu>{}}, ctx);
      gemm<A>(gate.weight.slice(0, h, 1), inner, logits.select(0, b).slice(0, h, 1),
              detail::RowBias<T>{gate.bias.slice(0, h, 1)}, ctx);
    }
}

template <class A = DefaultArch, class T>
void gate_logits(const FeatureGate<T>& gate, std::type_identity_t<View<const T, 3>> x,
                 std::type_identity_t<View<T, 3>> logits, const Context& ctx = Context()) {
  detail::require_gate<T>(x, gate.weight.extent(0), gate.weight.extent(1), logits);
  for (Index b = 0; b < x.extent(0); ++b)
    gemm<A>(gate.weight, x.select(0, b).transpose(0, 1), logits.select(0, b),
            detail::RowBias<T>{gate.bias}, ctx);
}

namespace detail {

template <class T>
T opened(T logit, double factor) noexcept {
  return static_cast<T>(factor / (1 + std::exp(-static_cast<double>(logit))));
}

inline void require_gate_factor(double factor) {
  require(std::isfinite(factor), "open_gates: the factor must be finite, got ", factor);
}

}  // namespace detail

/// gates = factor sigma(logits), both [B, H, N] (or of any other extents); they may be the same.
template <ViewLike<3> L, ViewLike<3> G>
void open_gates(const L& logits, G&& gates, double factor = 1) {
  const auto to = view_of(gates);
  const View<const typename decltype(to)::value_type, 3> from = view_of(logits);
  detail::require_gate_factor(factor);
  require(from.shape() == to.shape(), "open_gates: logits ", from, " and gates ", to,
          " must have the same shape");
  for (Index b = 0; b < from.extent(0); ++b)
    for (Index h = 0; h < from.extent(1); ++h)
      for (Index i = 0; i < from.extent(2); ++i)
        to(b, h, i) = detail::opened(from(b, h, i), factor);
}

/// gates [B, H, 1] = factor sigma(mean of logits [B, H, N] over the tokens); N >= 1.
template <ViewLike<3> L, ViewLike<3> G>
void open_head_gates(const L& logits, G&& gates, double factor = 1) {
  const auto to = view_of(gates);
  using T = typename decltype(to)::value_type;
  const View<const T, 3> from = view_of(logits);
  const Index tokens = from.extent(2);
  detail::require_gate_factor(factor);
  require(tokens >= 1, "open_head_gates: there is no token to take the mean over");
  require(to.extent(0) == from.extent(0) && to.extent(1) == from.extent(1) && to.extent(2) == 1,
          "open_head_gates: gates ", to, " must be [B, H, 1] for logits ", from);
  for (Index b = 0; b < from.extent(0); ++b)
    for (Index h = 0; h < from.extent(1); ++h) {
      T sum = 0;
      for (Index i = 0; i < tokens; ++i) sum += from(b, h, i);
      to(b, h, 0) = detail::opened(sum / static_cast<T>(tokens), factor);
    }
}

}  // namespace weft
