#pragma once

#include <weft/core/executor.hpp>
#include <weft/core/tensor.hpp>
#include <weft/layer/norm.hpp>
#include <weft/layer/rows.hpp>

#include <cmath>

/// Re-parameterised batch normalisation (SLAB: Efficient Transformers with Simplified Linear
/// Attention and Progressive Re-parameterized Batch Normalization, arXiv:2405.11582), over rows of
/// C channels:
///
///   RepBN(x) = (x - mean) / sqrt(variance + eps) gamma + beta + alpha x = a x + b
///   a = gamma / sqrt(variance + eps) + alpha,   b = beta - gamma mean / sqrt(variance + eps)
///   PRepBN(x) = lambda LayerNorm(x) + (1 - lambda) RepBN(x)          while training, lambda -> 0
///
/// What is left of it after training is an affine map of each channel, which disappears in the
/// linear layers around it (weights [out, in], changed in place):
///
///   y = W (a x + b) + c             W' = W diag(a),   c' = c + W b             fold_into_next
///   y = a (W x + c) + b             W' = diag(a) W,   c' = a c + b             fold_into_previous
///   a norm after a residual stream  writers W' = diag(a) W, c' = a c, and c' += b in the last one;
///                                   readers W' = W diag(1 / a)                 fold_into_writer,
///                                                                              fold_into_reader
/// The published fold into a previous layer loses alpha c; this one does not. A fold into readers
/// needs a != 0 and throws else; so do shapes that disagree and a variance + eps that is not
/// positive.
namespace weft {

template <class T = float>
struct RepBatchNorm {
  View<const T, 1> gamma, beta, mean, variance;  ///< [C]; variance biased
  T alpha = 1;
  T eps = static_cast<T>(1e-5);
};

/// y_c = a_c x_c + b_c.
template <class T = float>
struct ChannelAffine {
  Tensor<T, 1> a, b;

  explicit ChannelAffine(const RepBatchNorm<T>& norm)
      : a({norm.gamma.extent(0)}), b({norm.gamma.extent(0)}) {
    const Index C = norm.gamma.extent(0);
    require(norm.beta.extent(0) == C && norm.mean.extent(0) == C && norm.variance.extent(0) == C,
            "RepBatchNorm: gamma has ", C, " channels, beta ", norm.beta.extent(0), ", mean ",
            norm.mean.extent(0), ", variance ", norm.variance.extent(0), "; give all as many");
    for (Index c = 0; c < C; ++c) {
      const double spread = static_cast<double>(norm.variance(c)) + static_cast<double>(norm.eps);
      require(spread > 0, "RepBatchNorm: variance + eps of channel ", c, " is ", spread);
      const double slope = static_cast<double>(norm.gamma(c)) / std::sqrt(spread);
      a(c) = static_cast<T>(slope + static_cast<double>(norm.alpha));
      b(c) = static_cast<T>(static_cast<double>(norm.beta(c)) -
                            slope * static_cast<double>(norm.mean(c)));
    }
  }

  Index channels() const noexcept { return a.extent(0); }
};

namespace detail {

template <class T>
void require_fold(const char* what, const ChannelAffine<T>& affine, Index channels, Index biases,
                  Index rows) {
  require(affine.channels() == channels, what, ": the norm has ", affine.channels(),
          " channels, the weight ", channels);
  require(biases == rows, what, ": bias has ", biases, " values, the weight ", rows, " rows");
}

}  // namespace detail

/// y = a x + b over the last axis of arrays of one shape; y may be x.
template <class A = DefaultArch, class T, class X, class Y>
void apply_affine(const ChannelAffine<T>& affine, const X& x, Y&& y, const Context& ctx = {}) {
  const auto to = view_of(y);
  using S = typename decltype(to)::value_type;
  const View<const S, decltype(to)::rank> from = view_of(x);
  const Index C = to.extent(to.rank - 1);
  detail::require_same_rows("apply_affine", "x", from, "y", to);
  require(C == affine.channels(), "apply_affine: x has ", C, " channels, the norm ",
          affine.channels());
  detail::for_each_row(
      ctx,
      [&](Index, const S* row, S* out) {
        for (Index c = 0; c < C; c += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, C - c);
          store_as_partial<A>(out + c,
                              mul_add(load_as_partial<T, A>(row + c, lanes),
                                      load_partial<A>(affine.a.data() + c, lanes),
                                      load_partial<A>(affine.b.data() + c, lanes)),
                              lanes);
        }
      },
      from, to);
}

/// Into y = W (a x + b) + c: weight [R, C], bias [R].
template <class T>
void fold_into_next(const ChannelAffine<T>& affine, View<T, 2> weight, View<T, 1> bias) {
  const Index R = weight.extent(0), C = weight.extent(1);
  detail::require_fold("fold_into_next", affine, C, bias.extent(0), R);
  for (Index r = 0; r < R; ++r) {
    double shift = static_cast<double>(bias(r));
    for (Index c = 0; c < C; ++c) {
      shift += static_cast<double>(weight(r, c)) * static_cast<double>(affine.b(c));
      weight(r, c) *= affine.a(c);
    }
    bias(r) = static_cast<T>(shift);
  }
}

/// Into y = a (W x + c), to which `last` adds b: weight [C, K], bias [C].
template <class T>
void fold_into_writer(const ChannelAffine<T>& affine, View<T, 2> weight, View<T, 1> bias,
                      bool last) {
  const Index C = weight.extent(0);
  detail::require_fold("fold_into_writer", affine, C, bias.extent(0), C);
  for (Index c = 0; c < C; ++c) {
    for (Index k = 0; k < weight.extent(1); ++k) weight(c, k) *= affine.a(c);
    bias(c) = affine.a(c) * bias(c) + (last ? affine.b(c) : T(0));
  }
}

/// Into y = a (W x + c) + b: weight [C, K], bias [C].
template <class T>
void fold_into_previous(const ChannelAffine<T>& affine, View<T, 2> weight, View<T, 1> bias) {
  fold_into_writer(affine, weight, bias, true);
}

/// Into y = W (x / a): weight [R, C].
template <class T>
void fold_into_reader(const ChannelAffine<T>& affine, View<T, 2> weight) {
  const Index C = weight.extent(1);
  detail::require_fold("fold_into_reader", affine, C, weight.extent(0), weight.extent(0));
  for (Index c = 0; c < C; ++c)
    require(affine.a(c) != T(0), "fold_into_reader: a is 0 in channel ", c,
            "; what it writes cannot be undone");
  for (Index r = 0; r < weight.extent(0); ++r)
    for (Index c = 0; c < C; ++c) weight(r, c) /= affine.a(c);
}

/// Mean and biased variance of each channel over all rows of x [.., C], in fp64; at least one row.
template <class T, class X>
void batch_statistics(const X& x, View<T, 1> mean, View<T, 1> variance) {
  const auto rows = view_of(x);
  using S = typename decltype(rows)::value_type;
  const View<const S, decltype(rows)::rank> from = rows;
  const Index C = from.extent(from.rank - 1), n = detail::row_count(from);
  require(n >= 1 && mean.extent(0) == C && variance.extent(0) == C, "batch_statistics: ", n,
          " rows of ", C, " channels, mean has ", mean.extent(0), " and variance ",
          variance.extent(0));
  for (Index c = 0; c < C; ++c) {
    const auto sum_over_rows = [&](auto f) {
      double sum = 0;
      detail::RowCursor cursor(from, 0);
      for (Index r = 0; r < n; ++r, ++cursor) sum += f(static_cast<double>((*cursor)[c]));
      return sum / static_cast<double>(n);
    };
    const double m = sum_over_rows([](double v) { return v; });
    mean(c) = static_cast<T>(m);
    variance(c) = static_cast<T>(sum_over_rows([m](double v) { return (v - m) * (v - m); }));
  }
}

/// y = lambda LayerNorm(x) + (1 - lambda) (a x + b), as while training; y must not be x.
template <class A = DefaultArch, class T, class X, class Y>
void progressive_norm(const LayerNorm<T>& layer_norm, const ChannelAffine<T>& affine, T lambda,
                      const X& x, Y&& y, const Context& ctx = {}) {
  require(lambda >= T(0) && lambda <= T(1), "progressive_norm: lambda is ", lambda,
          ", must be in [0, 1]");
  normalize<A>(layer_norm, x, y, ctx);
  const auto to = view_of(y);
  using S = typename decltype(to)::value_type;
  const View<const S, decltype(to)::rank> from = view_of(x);
  const Index C = to.extent(to.rank - 1);
  require(C == affine.channels(), "progressive_norm: x has ", C, " channels, the norm ",
          affine.channels());
  detail::for_each_row(
      ctx,
      [&](Index, const S* row, S* out) {
        using V = Vec<T, A>;
        for (Index c = 0; c < C; c += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, C - c);
          const V rep = mul_add(load_as_partial<T, A>(row + c, lanes),
                                load_partial<A>(affine.a.data() + c, lanes),
                                load_partial<A>(affine.b.data() + c, lanes));
          const V normal = load_as_partial<T, A>(out + c, lanes);
          store_as_partial<A>(out + c, mul_add(V(lambda), V(normal - rep), rep), lanes);
        }
      },
      from, to);
}

}  // namespace weft
