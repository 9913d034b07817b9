#pragma once

#include <weft/core/arguments.hpp>
#include <weft/core/math.hpp>
#include <weft/layer/rows.hpp>

#include <cmath>

/// Gates: what the projections of a layer become before a mixer takes them as decays or weights.
///
///   log_sigmoid_gate    log a = log sigmoid(x) / normalizer, at least `least` arXiv:2312.06635
///   softplus_gate       log a = -exp(A_log[h]) softplus(x + dt_bias[h]) arXiv:2412.06464
///   sigmoid_gate        beta = most sigmoid(x) arXiv:2406.06484
///
/// x and out may be the same memory. Elements fp32 or fp64. Throws where shapes disagree.
namespace weft {

namespace detail {

template <class T, class F>
void map_gates(const View<const T, 3>& x, const View<T, 3>& out, const char* name, F f) {
  require(x.shape() == out.shape(), name, ": x is ", x, ", out is ", out);
  for (Index b = 0; b < x.extent(0); ++b)
    for (Index h = 0; h < x.extent(1); ++h)
      for (Index t = 0; t < x.extent(2); ++t) out(b, h, t) = f(x(b, h, t), h);
}

/// log(1 + e^x), without overflow.
template <class T>
T softplus(T x) noexcept {
  return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
}

}  // namespace detail

/// Per token and head, x [B, H, N], any strides: beta = most / (1 + exp(-x)). most = 2 allows the
/// delta rule negative eigenvalues (arXiv:2411.12537).
template <ViewLike<3> X, ViewLike<3> O>
void sigmoid_gate(const X& x, O&& out, double most = 1) {
  using T = detail::Element<O>;
  detail::map_gates<T>(view_of(x), view_of(out), "sigmoid_gate", [&](T value, Index) {
    return static_cast<T>(most) / (1 + std::exp(-value));
  });
}

/// Per token and head, x [B, H, N], any strides; a_log and dt_bias [H]. The decay of gated DeltaNet
/// and of Mamba-2.
template <ViewLike<3> X, ViewLike<1> L, ViewLike<1> Z, ViewLike<3> O>
void softplus_gate(const X& x, const L& a_log, const Z& dt_bias, O&& out) {
  using T = detail::Element<O>;
  const View<const T, 1> logs = view_of(a_log), bias = view_of(dt_bias);
  const Index heads = view_of(out).extent(1);
  require(logs.extent(0) == heads && bias.extent(0) == heads, "softplus_gate: a_log has ",
          logs.extent(0), " numbers and dt_bias ", bias.extent(0), " for ", heads, " heads");
  detail::map_gates<T>(view_of(x), view_of(out), "softplus_gate", [&](T value, Index h) {
    return -std::exp(logs(h)) * detail::softplus(value + bias(h));
  });
}

/// Per token and channel, x [B, H, N, F], any strides but 1 in the last axis. Gated linear
/// attention divides by 16 and may bound the result from below.
template <class A = DefaultArch, ViewLike<4> X, ViewLike<4> O>
void log_sigmoid_gate(const X& x, O&& out, double normalizer = 16,
                      double least = -std::numeric_limits<double>::infinity(),
                      const Context& ctx = Context()) {
  using T = detail::Element<O>;
  const View<const T, 4> in = view_of(x);
  const View<T, 4> to = view_of(out);
  detail::require_same_rows("log_sigmoid_gate", "x", in, "out", to);
  require(normalizer > 0, "log_sigmoid_gate: normalizer must be positive, got ", normalizer);
  const Vec<T, A> factor(static_cast<T>(-1 / normalizer)), floor(static_cast<T>(least));
  const auto gate = [&, n = in.extent(3)](Index, const T* row, T* gates) {
    for (Index f = 0; f < n; f += kWidth<T, A>) {
      const Index lanes = std::min(kWidth<T, A>, n - f);
      const Vec<T, A> logs = math::softplus(-load_partial<A>(row + f, lanes)) * factor;
      // In this order a NaN stays.
      store_partial<A>(gates + f, xsimd::select(logs < floor, floor, logs), lanes);
    }
  };
  detail::for_each_row(ctx, gate, in, to);
}

}  // namespace weft
