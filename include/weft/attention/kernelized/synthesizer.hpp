#pragma once

#include <weft/attention/kernelized/few_keys.hpp>
#include <weft/attention/softmax/positional.hpp>
#include <weft/core/activation.hpp>

namespace weft {

/// Attention without products of tokens (Synthesizer: Rethinking Self-Attention for Transformer
/// Models, arXiv:2005.00743). Per head, with x_i in R^d and logits S [N, N]:
///
///   dense              S_i  = W2 relu(W1 x_i + b1) + b2
///   random             S    = R, the same for every input
///   factorized random  S    = R1 R2^T
///   factorized dense   S_ij = A_i[f(j)] B_i[j mod b],  A_i = W_A x_i in R^a, B_i = W_B x_i in R^b
///                      f(j) = j / b (`repeat`) or j mod a (`tile`); a b >= N
///   out_i = sum_j softmax_j(S_i)_j v_j                   j <= i only where causal; no 1 / sqrt(d)
///
/// x [B, H, N, d] (one x for all heads: stride 0), v, out [B, H, N, E]. Tables are made for inputs
/// up to a length L; shorter ones use their first N rows and columns. Of the factorized dense form
/// the paper says that both factors are tiled, which meets every pair only when a and b have no
/// common divisor; `repeat` always does.
///
/// A dense S is never stored: relu(W1 x + b1) are queries, the rows of W2 keys and b2 a bias. The
/// random forms are computed once for the whole batch. A mixture, softmax of a weighted sum of such
/// logits and of q . k, is a score of its own: Chain of AdditiveBias and what it needs.
///
/// Elements fp32 or fp64, one type for all. Throws where shapes do not fit. Time
/// O(B H N^2 (hidden + E)).
template <class T = float>
struct SynthesizerDense {
  View<const T, 3> w1;  ///< [H, hidden, d]
  View<const T, 2> b1;  ///< [H, hidden]
  View<const T, 3> w2;  ///< [H, L, hidden]
  View<const T, 2> b2;  ///< [H, L]
  bool causal = false;
};

template <class T = float>
struct SynthesizerRandom {
  View<const T, 3> logits;  ///< [H, L, L]
  bool causal = false;
};

template <class T = float>
struct SynthesizerFactorizedRandom {
  View<const T, 3> rows, columns;  ///< R1, R2 [H, L, k]
  bool causal = false;
};

enum class SynthesizerTiling { repeat, tile };

template <class T = float>
struct SynthesizerFactorizedDense {
  View<const T, 3> wa;  ///< [H, a, d]
  View<const T, 3> wb;  ///< [H, b, d]
  SynthesizerTiling tiling = SynthesizerTiling::repeat;
  bool causal = false;
};

namespace detail {

/// No later key, or every key.
inline Window synthesizer_mask(bool causal) noexcept { return {-1, causal ? 0 : -1}; }

/// Logits a_i[f(j)] b_i[j mod size of b]; the products of queries and keys are left out.
template <class T>
struct OuterLogits {
  View<const T, 4> a, b;  // [B, H, N, .]
  SynthesizerTiling tiling;

  template <class V>
  V operator()(V, const Row& r, Index j0) const noexcept {
    using Lane = typename V::value_type;
    const T* first = a.pointer(r.batch, r.head, r.query);
    const T* second = b.pointer(r.batch, r.head, r.query);
    const Index nb = b.extent(3), na = a.extent(3);
    Lane lanes[V::size] = {};
    const Index count = std::min(kLanes<V>, r.keys - j0);
    for (Index l = 0; l < count; ++l) {
      const Index j = j0 + l, f = tiling == SynthesizerTiling::repeat ? j / nb : j % na;
      lanes[l] = static_cast<Lane>(first[f] * second[j % nb]);
    }
    return V::load_unaligned(lanes);
  }
};
static_assert(Score<OuterLogits<float>>);

template <class T>
void check_synthesizer(const View<const T, 4>& x, const View<const T, 4>& v) {
  require_channels(v, "v");
  require(x.extent(0) == v.extent(0) && x.extent(1) == v.extent(1) && x.extent(2) == v.extent(2),
          "Synthesizer: x is ", x, ", v ", v, "; give them the same leading axes");
}

/// A table for up to L tokens, seen by N of them.
template <class T>
void check_table(const char* name, const View<const T, 3>& table, Index heads, Index N) {
  require(table.extent(0) == heads && table.extent(1) >= N, "Synthesizer: ", name, " is ", table,
          ", wanted [", heads, ", ", N, " or more, .]");
}

/// A linear map of every head: x [B, H, N, d], w [H, r, d] -> [B, H, N, r].
template <class A, class T, class E>
View<T, 4> map_heads(const char* name, const View<const T, 4>& x, const View<const T, 3>& w,
                     E epilogue, const Context& ctx) {
  require(w.extent(0) == x.extent(1) && w.extent(2) == x.extent(3), "Synthesizer: ", name, " is ",
          w, ", wanted [", x.extent(1), ", ., ", x.extent(3), "]");
  const View<T, 4> y =
      scratch<T, 4>(ctx.arena(), {x.extent(0), x.extent(1), x.extent(2), w.extent(1)});
  for_each_head(x.extent(0), x.extent(1), [&](Index b, Index h) {
    gemm<A>(head_of(x, b, h), w.select(0, h).transpose(0, 1), head_of(y, b, h), epilogue(h), ctx);
  });
  return y;
}

}  // namespace detail

template <class A = DefaultArch, class T, ViewLike<4> X, ViewLike<4> V, ViewLike<4> O>
void forward(const SynthesizerDense<T>& mixer, const X& input, const V& value, O&& out,
             const Context& ctx = Context()) {
  const View<const T, 4> x = view_of(input), v = view_of(value);
  detail::check_synthesizer<T>(x, v);
  const Index B = x.extent(0), H = x.extent(1), N = x.extent(2), hidden = mixer.w1.extent(1);
  detail::check_table("w2", mixer.w2, H, N);
  require(mixer.w2.extent(2) == hidden && mixer.b1.shape() == std::array<Index, 2>{H, hidden} &&
              mixer.b2.extent(0) == H && mixer.b2.extent(1) == mixer.w2.extent(1),
          "Synthesizer: w1 is ", mixer.w1, ", b1 ", mixer.b1, ", w2 ", mixer.w2, ", b2 ", mixer.b2);
  const Arena::Frame frame(ctx.arena());
  const auto with_bias = [&](Index h) {
    return Then{Bias{mixer.b1.select(0, h)}, Activate<Relu>{}};
  };
  const View<const T, 4> q = detail::map_heads<A, T>("w1", x, mixer.w1, with_bias, ctx);
  const View<const T, 3> rows = mixer.w2.slice(1, 0, N);
  const View<const T, 4> k = unsqueeze(rows).broadcast({B, H, N, hidden});
  const View<const T, 4> bias(mixer.b2.data(), {1, H, 1, N},
                              {0, mixer.b2.stride(0), 0, mixer.b2.stride(1)});
  forward<A>(
      Softmax{detail::synthesizer_mask(mixer.causal), AdditiveBias<T>(bias), PlainSoftmax{}, 1.0},
      q, k, v, out, ctx);
}

template <class A = DefaultArch, class T, ViewLike<4> V, ViewLike<4> O>
void forward(const SynthesizerRandom<T>& mixer, const V& value, O&& out,
             const Context& ctx = Context()) {
  const View<const T, 4> v = view_of(value);
  const Index H = v.extent(1), N = v.extent(2);
  detail::check_table("logits", mixer.logits, H, N);
  require(mixer.logits.extent(2) >= N, "Synthesizer: logits are ", mixer.logits, " for ", N,
          " tokens");
  static constexpr T kZero = 0;
  const View<const T, 3> none(&kZero, {H, N, 1}, {0, 0, 1});
  const View<const T, 3> logits = mixer.logits.slice(1, 0, N).slice(2, 0, N);
  const Softmax given{detail::synthesizer_mask(mixer.causal), AdditiveBias<T>(unsqueeze(logits))};
  forward_positional<A>(given, none, none, v, out, ctx);
}

template <class A = DefaultArch, class T, ViewLike<4> V, ViewLike<4> O>
void forward(const SynthesizerFactorizedRandom<T>& mixer, const V& value, O&& out,
             const Context& ctx = Context()) {
  const View<const T, 4> v = view_of(value);
  const Index H = v.extent(1), N = v.extent(2);
  detail::check_table("rows", mixer.rows, H, N);
  detail::check_table("columns", mixer.columns, H, N);
  const Softmax given{detail::synthesizer_mask(mixer.causal), NoScore{}, PlainSoftmax{}, 1.0};
  forward_positional<A>(given, mixer.rows.slice(1, 0, N), mixer.columns.slice(1, 0, N), v, out,
                        ctx);
}

template <class A = DefaultArch, class T, ViewLike<4> X, ViewLike<4> V, ViewLike<4> O>
void forward(const SynthesizerFactorizedDense<T>& mixer, const X& input, const V& value, O&& out,
             const Context& ctx = Context()) {
  const View<const T, 4> x = view_of(input), v = view_of(value);
  detail::check_synthesizer<T>(x, v);
  require(mixer.wa.extent(1) * mixer.wb.extent(1) >= x.extent(2),
          "Synthesizer: ", mixer.wa.extent(1), " x ", mixer.wb.extent(1), " logits for ",
          x.extent(2), " tokens");
  const Arena::Frame frame(ctx.arena());
  const auto nothing = [](Index) { return NoEpilogue{}; };
  const detail::OuterLogits<T> logits{detail::map_heads<A, T>("wa", x, mixer.wa, nothing, ctx),
                                      detail::map_heads<A, T>("wb", x, mixer.wb, nothing, ctx),
                                      mixer.tiling};
  static constexpr T kZero = 0;
  const View<const T, 4> none(&kZero, {x.extent(0), x.extent(1), x.extent(2), 1}, {0, 0, 0, 1});
  forward<A>(Softmax{detail::synthesizer_mask(mixer.causal), logits}, none, none, v, out, ctx);
}

}  // namespace weft
