#pragma once

#include <weft/attention/linear/mixer.hpp>
#include <weft/layer/residual.hpp>

namespace weft {

/// Spectral correlation attention (ESSAformer: Efficient Transformer for Hyperspectral Image
/// Super-resolution, arXiv:2307.14010), one head of C channels:
///
///   s(x) = (x - mean x)^2 / (sum_c (x_c - mean x)^2 + 1e-7)        squares by channel
///   q_i' = s(q_i) / |s(q_i)|             the length of a row of channels
///   k_jc' = s(k_j)_c / |s(k)_c|          the length of a channel over all tokens
///   out_i = v_i + sum_j (q_i' . k_j') v_j / sqrt(N)
///
/// lengths at least 1e-12. A constant added to all channels of a row of q or k changes nothing. q,
/// k, v, out [B, N, C], any strides but 1 in the last axis. No causal form. Time O(B N C^2),
/// scratch memory B C. Throws where shapes disagree.
struct SpectralAttention {};

namespace detail {

/// s of a row of n channels; the result is the sum of their squares.
template <class A, class T>
T spectral_row(const T* x, Index n, T* to) noexcept {
  using V = Vec<T, A>;
  constexpr Index W = kWidth<T, A>;
  const auto [mean, variance] = row_mean_variance<A>(x, n);
  const V centre(mean), factor(1 / (variance * static_cast<T>(n) + static_cast<T>(1e-7)));
  V sum(T(0));
  for (Index c = 0; c < n; c += W) {
    const Index lanes = std::min(W, n - c);
    const V d = load_partial<A>(x + c, lanes) - centre;
    const V s = xsimd::select(leading_lanes<A, T>(lanes), V(d * d * factor), V(T(0)));
    store_partial<A>(to + c, s, lanes);
    sum = mul_add(s, s, sum);
  }
  return sum_lanes(sum);
}

/// s(q) over its length, and s(k) over that of its channel: inverse lengths [B, C].
template <class S>
struct SpectralFeatures {
  View<const S, 2> inverse;

  Index size(Index dim) const noexcept { return dim; }
  template <class A, class T>
  void map(const FeatureRows<T>& x, Arena&) const noexcept {
    for (Index r = 0; r < x.rows; ++r) {
      T* to = x.to + r * x.to_ld;
      const T squares = spectral_row<A>(x.from + r * x.from_ld, x.dim, to);
      if (!x.keys)
        times_row<A>(1 / std::max(std::sqrt(squares), static_cast<T>(1e-12)), to, x.dim, to);
      else
        for (Index c = 0; c < x.dim; c += kWidth<T, A>) {
          const Index lanes = std::min(kWidth<T, A>, x.dim - c);
          const auto f = load_partial<A>(inverse.pointer(x.batch) + c, lanes);
          store_partial<A>(to + c, load_partial<A>(to + c, lanes) * f, lanes);
        }
    }
  }
};

/// Inverse lengths of the channels of s(k) over all tokens.
template <class A, class T, class S>
void spectral_lengths(const View<const S, 3>& k, View<T, 2> inverse, const Context& ctx) {
  constexpr Index W = kWidth<T, A>;
  const Index C = k.extent(2), ld = round_up(C, W);
  ctx.parallel(k.extent(0), [&](Index b, Arena& arena) {
    T* row = arena.take<T>(ld);
    T* sums = arena.take<T>(ld);
    std::fill_n(sums, ld, T(0));
    for (Index j = 0; j < k.extent(1); ++j) {
      convert_row<T, A>(k.pointer(b, j), row, C, ld);
      spectral_row<A>(row, C, row);
      for (Index c = 0; c < C; c += W) {
        const auto s = load<A>(row + c);
        store<A>(sums + c, mul_add(s, s, load<A>(sums + c)));
      }
    }
    for (Index c = 0; c < C; ++c)
      inverse(b, c) = 1 / std::max(std::sqrt(sums[c]), static_cast<T>(1e-12));
  });
}

}  // namespace detail

template <class A = DefaultArch, ViewLike<3> Q, ViewLike<3> K, ViewLike<3> V, ViewLike<3> O>
void forward(const SpectralAttention&, const Q& q, const K& k, const V& v, O&& out,
             const Context& ctx = Context()) {
  using S = detail::Element<const K>;
  using T = Accumulator<detail::Element<const Q>>;
  const View<const S, 3> keys = view_of(k);
  const Index B = keys.extent(0), C = keys.extent(2), N = view_of(q).extent(1);
  detail::require_channels(keys, "k");
  require(view_of(v).shape() == view_of(out).shape(), "SpectralAttention: v is ", view_of(v),
          ", out ", view_of(out), "; give both the same shape");
  const Arena::Frame frame(ctx.arena());
  const View<T, 2> inverse(ctx.arena().template take<T>(B * C), {B, C});
  detail::spectral_lengths<A, T>(keys, inverse, ctx);
  const auto one_head = [](auto view) { return unsqueeze(view).transpose(0, 1); };
  const LinearAttention linear{detail::SpectralFeatures<T>{inverse},
                               NoDecay{},
                               Additive{},
                               NoDenominator{},
                               N == 0 ? 1.0 : 1 / std::sqrt(static_cast<double>(N)),
                               Order::bidirectional};
  forward<A>(linear, one_head(view_of(q)), one_head(keys), one_head(view_of(v)),
             one_head(view_of(out)), ctx);
  add_residual<A>(out, v, ctx);
}

}  // namespace weft
