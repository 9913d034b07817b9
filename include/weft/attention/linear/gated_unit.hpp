#pragma once

#include <weft/attention/linear/joint_attention.hpp>
#include <weft/attention/softmax/laplace.hpp>
#include <weft/core/activation.hpp>
#include <weft/layer/linear.hpp>
#include <weft/layer/norm.hpp>
#include <weft/position/relative_bias.hpp>

namespace weft {

/// Gated attention unit (GAU; Transformer Quality in Linear Time, arXiv:2202.10447), attention and
/// feed-forward layer in one, of one head:
///
///   n = norm(x),  [v, gate] = silu(W_h n + b_h),  z = silu(W_z n + b_z)
///   q = z gamma_0 + beta_0,  k = z gamma_1 + beta_1
///   w_ij = f((q_i . k_j + bias(j - i)) / N)                  j <= i if causal
///   y = ((w v) gate) W_o + b_o + x
///
/// f is squared ReLU, or LaplaceWeights{}. bias is T5's of 32 buckets, one number each, times
/// sqrt(C). The divisor N is the whole length, causal or not, as in the port this follows; bias is
/// inside of it, which the paper leaves open.
///
/// x, y [B, N, C]; the operators are C -> 2 E, C -> S and E -> C and have their biases. Time that
/// of the products and O(B N^2 (S + E)); scratch B N (C + 3 E + 3 S) numbers. Throws where shapes
/// disagree.
template <class Op = DenseOperator<float>, class Weights = ReluWeights<2>, class T = float>
struct GatedUnit {
  LayerNorm<T> norm;
  Op hidden, shared, out;
  View<const T, 2> gamma, beta;    ///< [2, S]
  View<const T, 1> distance_bias;  ///< [32], or empty for none
  bool causal = false;
  Weights weights = {};
};

namespace detail {

/// T5's bias of distances 1 - N .. N - 1 times a factor, [1, 2 N - 1].
template <class T>
View<const T, 2> unit_bias(View<const T, 1> buckets, bool causal, Index tokens, double factor,
                           Arena& arena) {
  const Index length = 2 * tokens - 1;
  const View<T, 2> bias(arena.take<T>(length), {1, length});
  std::fill_n(bias.data(), length, T(0));
  if (buckets.data() == nullptr) return bias;
  relative_bias(RelativeBuckets{32, 128, !causal}, unsqueeze(buckets).transpose(0, 1), 1 - tokens,
                bias);
  for (Index t = 0; t < length; ++t)
    bias(0, t) = static_cast<T>(static_cast<double>(bias(0, t)) * factor);
  return bias;
}

/// x *= y.
template <class A, class T>
void multiply_rows(const View<T, 3>& x, const View<const T, 3>& y, const Context& ctx) {
  for_each_row(
      ctx,
      [n = x.extent(2)](Index, T* row, const T* by) {
        for (Index d = 0; d < n; d += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, n - d);
          store_partial<A>(row + d,
                           load_partial<A>(row + d, lanes) * load_partial<A>(by + d, lanes), lanes);
        }
      },
      x, y);
}

}  // namespace detail

template <class A = DefaultArch, class Op, class Weights, class T, ViewLike<3> X, ViewLike<3> Y>
void forward(const GatedUnit<Op, Weights, T>& unit, const X& x, Y&& y,
             const Context& ctx = Context()) {
  const View<const T, 3> from = view_of(x);
  const View<T, 3> to = view_of(y);
  const Index B = from.extent(0), N = from.extent(1), C = from.extent(2);
  const Index E = unit.out.cols(), S = unit.shared.rows();
  require(to.shape() == from.shape(), "GatedUnit: x is ", from, ", y is ", to);
  require(unit.hidden.rows() == 2 * E && unit.hidden.cols() == C && unit.shared.cols() == C &&
              unit.out.rows() == C,
          "GatedUnit: the operators must be C -> 2 E, C -> S and E -> C for C = ", C);
  if (N == 0) return;
  const Arena::Frame frame(ctx.arena());
  const auto take = [&](Index channels) {
    return View<T, 3>(ctx.arena().template take<T>(B * N * channels), {B, N, channels});
  };
  const auto rows = [&](const auto& view) { return detail::as_rows("x", view); };
  const auto normal = take(C), hidden = take(2 * E), z = take(S), attended = take(E);
  normalize<A>(unit.norm, from, normal, ctx);
  unit.hidden.apply(rows(View<const T, 3>(normal)), rows(hidden), Activate<Silu>{}, ctx);
  unit.shared.apply(rows(View<const T, 3>(normal)), rows(z), Activate<Silu>{}, ctx);
  const View<T, 4> both(ctx.arena().template take<T>(2 * B * N * S), {2, B, N, S});
  offset_scale<A>(unit.gamma, unit.beta, z, both, ctx);

  const double divisor = static_cast<double>(N);
  const RelativeBias<T> bias{
      detail::unit_bias(unit.distance_bias, unit.causal, N,
                        std::sqrt(static_cast<double>(C)) / divisor, ctx.arena()),
      N - 1};
  const auto one_head = [](const auto& view) { return unsqueeze(view).transpose(0, 1); };
  forward<A>(Softmax{Window{-1, unit.causal ? 0 : -1}, bias, unit.weights, 1 / divisor},
             one_head(both.select(0, 0)), one_head(both.select(0, 1)),
             one_head(hidden.slice(2, 0, E)), one_head(attended), ctx);
  detail::multiply_rows<A>(attended, View<const T, 3>(hidden.slice(2, E, E)), ctx);
  unit.out.apply(rows(View<const T, 3>(attended)), rows(to), AddResidual<T>{rows(from)}, ctx);
}

}  // namespace weft
